"""Models out of files: what was exported comes in again as it was, and whatever else a file holds is refused."""

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import InvalidModel, TooLarge
from service.export.importing import Imported, read
from service.export.model_file import ModelFile
from service.export.safetensors_file import KEY, pieces
from service.settings import Settings
from service.store.blobs import BlobWriter
from service.store.engine import Store
from tests.support.every_block import DATA, Case, cases, specification
from tests.support.untrained import Untrained, exported, untrained

SETTINGS = Settings()
Tensors = dict[str, torch.Tensor]
NAMES = ("name", "spec", "task", "classes", "columns", "preprocessing", "metrics", "calibration")
DATA_STEPS: list[Any] = [
    {"type": "impute", "strategy": "mean", "columns": ["n1"], "indicator": True},
    {"type": "one_hot"},
    {"type": "standardize"},
]


def imported(data: bytes, folder: Path, settings: Settings = SETTINGS) -> Imported:
    path = folder / "file"
    path.write_bytes(data)
    return read(path, hashlib.sha256(data).hexdigest(), settings)


@pytest.fixture(scope="module")
def model() -> Untrained:
    kind, content = DATA["table"]
    data = {"features": ["n1", "n2", "word"], "preprocessing": DATA_STEPS}
    return untrained(content, kind, specification("table", data=data))


def changed(model: Untrained, change: Callable[[Any], object], tensors: Tensors | None = None) -> bytes:
    """The file of a model after a change to what its metadata say."""
    value = json.loads(ModelFile.of(model.row).encode())
    change(value)
    return safetensors.torch.save(tensors or safetensors.torch.load(model.weights), {KEY: json.dumps(value)})


def put(path: str, new: Any) -> Callable[[Any], None]:
    """A change of the value at a path of keys and places."""

    def change(value: Any) -> None:
        *steps, last = path.split("/")
        for step in steps:
            value = value[int(step) if step.isdecimal() else step]
        if new is GONE:
            del value[last]
        else:
            value[int(last) if last.isdecimal() else last] = new

    return change


GONE = object()


def test_stock_safetensors_reads_what_is_exported(sqlite_store: Store, model: Untrained, tmp_path: Path) -> None:
    for chunk in (64, 1 << 20):
        writer = BlobWriter(sqlite_store, chunk)
        writer.write(model.weights)
        with sqlite_store.begin() as session:
            blob = writer.finish(session)
        size, content = pieces(sqlite_store, blob.sha256, blob.size, ModelFile.of(model.row).encode())
        path = tmp_path / "model.safetensors"
        path.write_bytes(b"".join(content))
        assert path.stat().st_size == size
        own, found = safetensors.torch.load(model.weights), safetensors.torch.load_file(path)
        assert own.keys() == found.keys() and all(torch.equal(own[name], found[name]) for name in own)
        with safetensors.safe_open(path, framework="pt") as file:
            assert json.loads(file.metadata()[KEY])["weights_sha256"] == model.row.weights_sha256
        assert imported(path.read_bytes(), tmp_path).row.spec == model.row.spec


@pytest.mark.parametrize(
    "case", [case for case in cases() if case.name.partition("-")[0] in ("layer", "loss", "preprocessing")],
    ids=lambda case: case.name,
)  # fmt: skip
def test_every_model_comes_in_as_it_went_out(case: Case, tmp_path: Path) -> None:
    kind, content = DATA[case.data]
    model = untrained(content, kind, case.spec)
    found = imported(exported(model), tmp_path)
    assert found.weights.read_bytes() == model.weights
    for name in NAMES:
        if name != "name":
            assert getattr(found.row, name) == getattr(model.row, name), name
    assert found.row.job is None and found.row.parameters == model.row.parameters
    assert found.row.receipt["imported"]["model"] == model.row.id
    assert {**found.row.receipt, "imported": None} == {**model.row.receipt, "imported": None}


def test_an_imported_model_can_be_exported_and_imported_again(model: Untrained, tmp_path: Path) -> None:
    first = imported(exported(model), tmp_path).row
    first.id, first.weights_sha256, first.created_at = "mdl_other", model.row.weights_sha256, 2.0
    second = imported(exported(Untrained(first, model.weights)), tmp_path).row
    assert second.receipt["imported"]["model"] == "mdl_other"
    assert second.preprocessing == model.row.preprocessing


STEP = "preprocessing/features/steps"
WRONG: dict[str, tuple[Callable[[Any], None], str]] = {
    "another form": (put("format", 2), "format"),
    "no specification": (put("spec", GONE), "spec"),
    "an unknown layer": (put("spec/network/layers/1", {"type": "magic"}), "spec.network.layers[1].type"),
    "a wider layer": (put("spec/network/layers/1/units", 7), "tensors.layers.dense_1.kernel.bias"),
    "a wrong end": (put("spec/network/layers/3/units", 2), "spec.network.layers[3].units"),
    "another loss": (put("spec/loss", {"type": "mse"}), "spec.metrics[0]"),
    "another target": (put("preprocessing/target/names", ["n1"]), "preprocessing.target.names"),
    "a class less": (put("preprocessing/target/classes", ["a", "b"]), "preprocessing.outputs"),
    "a class twice": (put("preprocessing/target/classes", ["a", "b", "a"]), "preprocessing.target.classes"),
    "no classes": (put("preprocessing/target/classes", None), "preprocessing.target.classes"),
    "a scale of 0": (put("preprocessing/target/scale", [0]), "preprocessing.target.scale[0]"),
    "scales too many": (put("preprocessing/target/scale", [1.0, 1.0]), "preprocessing.target.scale"),
    "outputs too many": (put("preprocessing/outputs", 4), "tensors.layers.dense_3.kernel.bias"),
    "another input": (put("preprocessing/input_shape", [9]), "preprocessing.input_shape"),
    "another layout": (put("preprocessing/features/layout", "channels_last"), "preprocessing.features.layout"),
    "a step less": (lambda value: value["preprocessing"]["features"]["steps"].pop(), "preprocessing.features.steps"),
    "a state of text": (put(f"{STEP}/2/state/columns/n2/shift", ["x"]), f"{STEP}[2].state.columns.n2.shift[0]"),
    "a state without end": (put(f"{STEP}/2/state/columns/n2/scale", []), f"{STEP}[2].state.columns.n2.scale"),
    "a fill of text": (put(f"{STEP}/0/state/columns/n1", "x"), "preprocessing"),
    "a column of nobody": (put(f"{STEP}/2/state/columns/ghost", {"shift": [0], "scale": [1]}), "preprocessing"),
    "a code less": (lambda v: v["preprocessing"]["features"]["steps"][1]["state"]["columns"]["word"]["values"].pop(),
                    "preprocessing.features"),
    "a column twice": (lambda value: value["columns"].append(value["columns"][0]), "columns"),
    "no column": (put("columns", []), "columns"),
    "a column of another type": (put("preprocessing/features/columns/0/type", "category"),
                                 "preprocessing.features.columns"),
    "a column of no type": (put("columns/0/type", "colour"), "columns[0].type"),
    "a temperature of 0": (put("calibration/temperature", [0.0]), "calibration.temperature[0]"),
    "a temperature each": (put("calibration/temperature", [1.0, 1.0]), "calibration.temperature"),
    "a doubt less": (put("calibration/doubts/mutual_information", GONE), "calibration.doubts.mutual_information"),
    "no sets": (put("calibration/conformal", []), "calibration.conformal"),
    "a name of nothing": (put("name", ""), "name"),
    "a name with a bell": (put("name", "a\x07"), "name"),
    "no hash": (put("weights_sha256", "abc"), "weights_sha256"),
    "another hash": (put("weights_sha256", "0" * 64), "weights_sha256"),
    "something else": (put("evil", 1), "evil"),
    "an odd receipt": (put("receipt/rows", {"train": "many"}), "receipt.rows.train"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named_by_its_path(name: str, model: Untrained, tmp_path: Path) -> None:
    change, path = WRONG[name]
    with pytest.raises(InvalidModel) as refused:
        imported(changed(model, change), tmp_path)
    paths = [problem.path for problem in refused.value.problems]
    prefix = "" if path.startswith("tensors") else "metadata.trainyard."
    assert f"{prefix}{path.replace('/', '.')}" in paths, refused.value.problems


def test_a_number_that_was_changed_is_noticed(model: Untrained, tmp_path: Path) -> None:
    data = bytearray(exported(model))
    data[-1] ^= 1
    with pytest.raises(InvalidModel, match="one of them was changed"):
        imported(bytes(data), tmp_path)


def with_hash(model: Untrained, tensors: Tensors) -> bytes:
    """A file of these tensors that says their hash."""
    return changed(model, put("weights_sha256", hashlib.sha256(safetensors.torch.save(tensors)).hexdigest()), tensors)


def test_tensors_of_another_network_are_refused(model: Untrained, tmp_path: Path) -> None:
    own = safetensors.torch.load(model.weights)
    name = "layers.dense_1.kernel.weight"
    wrong: list[tuple[Tensors, str, str]] = [
        ({**own, "more": torch.zeros(2)}, "tensors.more", "is no tensor of this network"),
        ({n: t for n, t in own.items() if n != name}, f"tensors.{name}", "is missing"),
        ({**own, name: own[name].double()}, f"tensors.{name}", "does not fit"),
        ({**own, name: own[name].T.contiguous()}, f"tensors.{name}", "does not fit"),
    ]
    for tensors, path, message in wrong:
        with pytest.raises(InvalidModel, match=message) as refused:
            imported(with_hash(model, tensors), tmp_path)
        assert refused.value.problems[0].path == path


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_must_be_finite(model: Untrained, tmp_path: Path, value: float) -> None:
    own = safetensors.torch.load(model.weights)
    own["layers.dense_1.kernel.bias"][0] = value
    with pytest.raises(InvalidModel, match="NaN or infinite"):
        imported(with_hash(model, own), tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no safetensors"),
        (b"\x80\x04pickle" * 10, "a pickle"),
        (b"PK\x03\x04" + b"\xff" * 100, "torch.save"),
        (safetensors.torch.save({"a": torch.zeros(1)}), "tensors alone"),
        (safetensors.torch.save({"a": torch.zeros(1)}, {KEY: "{"}), "is no JSON"),
        (safetensors.torch.save({"a": torch.zeros(1)}, {KEY: "[" * 1000 + "]" * 1000}), "levels deep"),
        (safetensors.torch.save({"a": torch.zeros(1)}, {KEY: "[]"}), "metadata.trainyard"),
        (safetensors.torch.save({"a": torch.zeros(1)}, {KEY: '{"a": 1, "a": 2}'}), "stands twice"),
    ],
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        imported(data, tmp_path)


def test_metadata_are_limited(model: Untrained, tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        imported(exported(model), tmp_path, Settings(max_json_bytes=1000))


def test_networks_are_limited(model: Untrained, tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="more than this server allows"):
        imported(exported(model), tmp_path, Settings(max_parameters=10))
    with pytest.raises(InvalidModel, match="of memory for a row"):
        imported(exported(model), tmp_path, Settings(max_training_bytes=100))


def test_rows_that_no_request_could_hold_are_refused_before_they_are_made(tmp_path: Path) -> None:
    kind, content = DATA["table"]
    data = {"features": ["word"], "preprocessing": [{"type": "hash", "buckets": 4}]}
    model = untrained(content, kind, specification("table", data=data))

    def widen(value: Any) -> None:
        value["spec"]["data"]["preprocessing"][0]["buckets"] = 10_000
        step = value["preprocessing"]["features"]["steps"][0]
        step["step"]["buckets"] = 10_000
        step["state"]["columns"] = {f"c{i}": None for i in range(2000)}

    with pytest.raises(InvalidModel, match="more numbers a row"):
        imported(changed(model, widen), tmp_path)


ODD = st.sampled_from([None, True, -1, 0, 1, 2**70, 1e308, -1.5, "", "x", "a" * 300, [], {}, [[]], {"type": "relu"}])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return (
        [path, *(place for key, inner in items for place in places(inner, (*path, key)))]
        if path
        else [place for key, inner in items for place in places(inner, (key,))]
    )


def test_whatever_is_changed_the_file_is_a_model_or_refused(model: Untrained, tmp_path: Path) -> None:
    value = json.loads(ModelFile.of(model.row).encode())
    tensors = safetensors.torch.load(model.weights)
    everywhere = places(value)

    @settings(max_examples=150, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(place=st.sampled_from(everywhere), odd=ODD, drop=st.booleans())
    def try_it(place: tuple[Any, ...], odd: Any, drop: bool) -> None:
        other = copy.deepcopy(value)
        inner = other
        for step in place[:-1]:
            inner = inner[step]
        if drop:
            del inner[place[-1]]
        else:
            inner[place[-1]] = odd
        try:
            found = imported(safetensors.torch.save(tensors, {KEY: json.dumps(other)}), tmp_path)
        except InvalidModel as error:
            assert error.problems
        else:
            assert found.row.spec["loss"]["type"] == "cross_entropy"

    try_it()
