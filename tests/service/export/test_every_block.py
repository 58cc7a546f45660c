"""Every block of the language, in files of other programs: they answer as the service does, or are refused by name."""

import io
import json
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from service.blocks.activations import Activation
from service.blocks.losses import Loss
from service.errors import NotExportable
from service.export.check import TOLERANCE
from service.export.files import written
from service.export.graph import graph_of
from tests.service.blocks.test_every_block import smallest
from tests.support.every_block import DATA, FEATURES, ROWS, Case, cases, specification
from tests.support.untrained import Untrained, untrained

IN_THE_GRAPH = ("layer", "activation", "loss", "preprocessing")
WITHOUT_TRACE = (
    "initializer", "metric", "optimizer", "schedule", "averaging", "pretraining", "augmentation", "mixing",
)  # fmt: skip
"""Families that decide which weights there are, or what is measured, and nothing of what a model does with a row."""
MOST_ALIKE = 2
"""Members of such a family that are compared for one loss and kind of data."""
REFUSED = {"preprocessing-hash": "data.preprocessing[0]"}
APART = {"preprocessing-hash", "preprocessing-image_mean"}
"""Steps that are not for columns, or not for files."""


def family(case: Case) -> str:
    return case.name.partition("-")[0]


def model_of(case: Case) -> Untrained:
    kind, content = ("csv", columns()) if case.data == "columns" else DATA[case.data]
    return untrained(content, kind, case.spec)


def in_the_graph() -> Iterator[Case]:
    """Every layer, activation and step, many at once, and one of the losses that read outputs alike."""
    seen = set[Hashable]()
    layers: dict[str, list[Any]] = {}
    for case in cases():
        if family(case) == "loss":
            named = case.spec["loss"]
            kind = Loss.members()[named if isinstance(named, str) else named["type"]]
            alike = (kind.link, kind.variance, kind.task, case.name.endswith("-columns"))
            if alike not in seen:
                yield case
            seen.add(alike)
        elif family(case) == "layer":
            layers.setdefault(case.data, []).append(case.spec["network"]["layers"][0])
    for data, found in layers.items():
        yield side_by_side(f"layers of {data}", data, [[layer, {"type": "flatten"}] for layer in found])
    activations = [smallest(activation) for activation in Activation.members().values()]
    ways = [[{"type": "dense", "units": 6, "activation": activation}] for activation in activations]
    yield side_by_side("activations", "table", ways)
    features = [name for step in steps() for name in step["columns"]]
    yield Case("steps", "columns", specification("table", data={"features": features, "preprocessing": steps()}))
    yield from (case for case in cases() if case.name in APART)


def side_by_side(name: str, data: str, branches: list[list[Any]]) -> Case:
    """A network of which every branch has a say in every answer: one that answers otherwise cannot hide."""
    named = [{"type": "sequential", "name": f"way_{i}", "layers": layers} for i, layers in enumerate(branches)]
    layers = [
        {"type": "parallel", "branches": named},
        {"type": "dropout", "rate": 0.2},
        {"type": "dense", "units": "auto"},
    ]
    return Case(name, data, specification(data, network={"layers": layers}))


def steps() -> list[Any]:
    """Every step that a graph can take, each on a column of its own."""
    found = [case for case in cases() if family(case) == "preprocessing" and case.name not in APART]
    alone = [case.spec["data"]["preprocessing"][0] for case in found]
    return [{**step, "columns": columns_of(step["type"])} for step in alone]


def columns_of(step: str) -> list[str]:
    """Return what the columns of a step are called; whitening turns several together."""
    return [f"{step}_{i}" for i in range(3 if step == "pca_whitening" else 1)]


def columns() -> bytes:
    """A CSV of the columns of all steps: words, or numbers that are neither centred nor scaled; some are missing."""
    source = np.random.Generator(np.random.Philox(4))
    table = {"kind": [("a", "b", "c")[i % 3] for i in range(ROWS)]}
    for step in steps():
        for name in step["columns"]:
            numbers, words = source.normal(3.0, 2.0, ROWS), source.choice(["red", "green", "blue"], ROWS)
            table[name] = words.tolist() if step["type"] in FEATURES else [f"{number:.4f}" for number in numbers]
    for row in range(0, ROWS, 7):
        table["impute_0"][row] = ""
    return "\n".join([",".join(table), *map(",".join, zip(*table.values(), strict=True))]).encode()


def test_every_family_is_in_the_graph_or_leaves_no_trace() -> None:
    assert {family(case) for case in cases()} == {*IN_THE_GRAPH, *WITHOUT_TRACE}


@pytest.mark.parametrize("case", list(in_the_graph()), ids=lambda case: case.name)
def test_files_of_other_programs_answer_as_the_service_does(case: Case) -> None:
    model = model_of(case)
    loaded = model.loaded
    if case.name in REFUSED:
        with pytest.raises(NotExportable) as refused:
            graph_of(loaded)
        (problem,) = refused.value.problems
        assert (problem.path, problem.got) == (REFUSED[case.name], case.name.partition("-")[2])
        return
    graph = graph_of(loaded)
    for read, format in ((said_by_onnx, "onnx"), (said_by_torch, "torch")):
        data, checked = written(model.row, loaded, graph, format)  # type: ignore[arg-type]
        assert checked.rows == 32 and checked.largest_difference is not None
        assert checked.largest_difference <= TOLERANCE
        about = read(data)
        assert (about["model"], about["dropout"]) == (model.row.id, False)
        assert about["checked"] == {"rows": 32, "largest_difference": checked.largest_difference, "tolerance": 1e-5}


def said_by_onnx(data: bytes) -> dict[str, Any]:
    (entry,) = onnx.load_from_string(data).metadata_props
    assert entry.key == "trainyard"
    found: dict[str, Any] = json.loads(entry.value)
    return found


def said_by_torch(data: bytes) -> dict[str, Any]:
    files = {"trainyard.json": ""}
    torch.export.load(io.BytesIO(data), extra_files=files)
    found: dict[str, Any] = json.loads(files["trainyard.json"])
    return found


@pytest.mark.parametrize("name", WITHOUT_TRACE)
def test_a_family_without_trace_changes_nothing_in_the_graph(name: str) -> None:
    found: dict[str, list[str]] = {}
    for case in cases():
        codes = found.setdefault(f"{case.spec['loss']} {case.data}", [])
        if family(case) == name and len(codes) < MOST_ALIKE:
            codes.append(graph_of(model_of(case).loaded).program.graph_module.code)
    assert any(found.values()) and all(len(set(codes)) <= 1 for codes in found.values())
