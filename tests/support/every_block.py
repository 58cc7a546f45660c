"""For every block of the language a small data set and a specification that trains it."""

import functools
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.blocks.base import Block, Shape
from service.blocks.layers import Layer
from service.blocks.losses import Loss
from service.blocks.metrics import Metric
from service.catalog import FAMILIES
from service.errors import InvalidSpec
from service.network import build_network
from service.spec import NetworkSpec, RegularizationSpec
from tests.service.blocks.test_every_block import smallest

ROWS = 48
STEPS = 10
"""Steps of every job here: two epochs of five, the last one short."""
Json = dict[str, Any]


def table() -> bytes:
    """A CSV with numbers, a category, and targets of every kind."""
    draw = np.random.default_rng(0)
    numbers = draw.normal(size=(ROWS, 3)).round(4)
    shares = draw.dirichlet([2.0, 2.0, 2.0], ROWS).round(3)
    shares[:, 2] = (1 - shares[:, 0] - shares[:, 1]).round(3)
    lines = ["n1,n2,n3,word,kind,amount,count,first,second,d1,d2,d3"]
    for i, (n, d) in enumerate(zip(numbers, shares, strict=True)):
        word, kind = ("red", "green", "blue")[i % 3], ("a", "b", "c")[(i // 2) % 3]
        marks = f"{i % 2},{(i // 3) % 2}"
        lines.append(",".join([*map(str, n), word, kind, f"{n.sum():.4f}", str(i % 7), marks, *map(str, d)]))
    return "\n".join(lines).encode()


def tensors(*shape: int, high: int = 0) -> bytes:
    """An NPZ with `x` [rows, *shape], whole numbers below `high` where it is given, and `y`, three classes."""
    draw = np.random.default_rng(1)
    x = draw.integers(0, high, (ROWS, *shape)) if high else draw.normal(size=(ROWS, *shape)).astype(np.float32)
    file = io.BytesIO()
    np.savez(file, x=x.astype(np.uint8) if high else x, y=np.arange(ROWS) % 3)
    return file.getvalue()


DATA: dict[str, tuple[str, bytes]] = {
    "table": ("csv", table()),
    "sequences": ("npz", tensors(6, 4)),
    "images": ("npz", tensors(8, 8, 2)),
    "volumes": ("npz", tensors(2, 6, 6, 6)),
    "tokens": ("npz", tensors(6, high=10)),
}
"""The data sets by name: format and bytes."""
SHAPES: dict[str, Shape] = {
    "table": (3,),
    "sequences": (6, 4),
    "images": (2, 8, 8),
    "volumes": (2, 6, 6, 6),
    "tokens": (6,),
}
WORDS = ("word",)
"""The feature columns of the table that hold no numbers."""
CLASSES, NUMBER = {"target": "kind"}, {"target": "amount"}
TARGETS: dict[str, Json] = {
    "poisson": {"target": "count"},
    "kl_divergence": {"target": ["d1", "d2", "d3"]},
    "binary_cross_entropy": {"target": "first"},
}
"""What a loss of this name predicts, where it is not one of three classes, or a number."""
SEVERAL = {
    "binary_cross_entropy": ["first", "second"],
    "gaussian_nll": ["amount", "count"],
    "quantile": ["amount", "count"],
    "mse": ["amount", "count"],
}
"""What a loss of this name predicts when it predicts several columns."""
FEATURES = {step: ["n1", "word"] for step in ("one_hot", "ordinal", "hash", "tokenize")}
"""The columns that a preprocessing step of this name is for, where those are not the numbers."""


@dataclass(frozen=True)
class Case:
    """A block, the data set and the specification that trains it; the specification lacks the data set's id."""

    name: str
    data: str
    spec: Json


def rows_of(case: Case) -> list[Any]:
    """Return two rows to predict, as a client would send them."""
    kind, content = DATA[case.data]
    if kind == "npz":
        return [{"x": row} for row in np.load(io.BytesIO(content))["x"][:2].tolist()]
    names, *lines = (line.split(",") for line in content.decode().splitlines())
    wanted = case.spec["data"]["features"]
    rows = [dict(zip(names, line, strict=True)) for line in lines[:2]]
    return [{n: row[n] if n in WORDS else float(row[n]) for n in wanted} for row in rows]


def specification(source: str, **sections: Any) -> Json:
    """Return a small job on one of the data sets, with sections merged into it."""
    table = source == "table"
    features: Json = {"features": ["n1", "n2", "n3"], **CLASSES} if table else {"target": "y"}
    layout = {"image_layout": "channels_last" if source == "images" else "none"}
    spec: Json = {
        "network": {
            "layers": [
                {"type": "flatten"},
                {"type": "dense", "units": 6, "activation": "tanh"},
                {"type": "dropout", "rate": 0.2},
                {"type": "dense", "units": "auto"},
            ]
        },
        "loss": "cross_entropy",
        "data": {**features, **layout, "split": {"validation": 0.25}},
        "training": {"epochs": 2, "batch_size": 8},
    }
    for name, value in sections.items():
        merged = isinstance(value, dict) and isinstance(spec.get(name), dict) and "type" not in value
        spec[name] = {**spec[name], **value} if merged else value
    return spec


ELSEWHERE = ("pretrained",)
"""Blocks that need weights of another job: tests/worker/training/test_transfer.py and tests/e2e/test_transfer.py."""


@functools.cache
def cases() -> tuple[Case, ...]:
    """Return a case for every block of every family; to find what every layer takes is not done twice."""
    return tuple(_cases())


def _cases() -> Iterator[Case]:
    for family in FAMILIES:
        for tag, block in family.members().items():
            if tag in ELSEWHERE:
                continue
            yield Case(f"{family.family}-{tag}", *_case(family, block, smallest(block)))
    for loss, target in SEVERAL.items():
        data = {"features": ["n1", "n2", "n3"], "target": target}
        yield Case(f"loss-{loss}-columns", "table", specification("table", loss=loss, data=data))


def _case(family: type[Block], block: type[Block], body: Json) -> tuple[str, Json]:
    if issubclass(block, Layer):
        return _layer(body)
    if family.family in PLACES:
        return PLACES[family.family](body)
    raise AssertionError(f"say where a block of the family {family.family!r} stands in a specification")


def _layer(body: Json) -> tuple[str, Json]:
    if body["type"] == "embedding":
        body = {**body, "input_dim": 10}
    for data, shape in SHAPES.items():
        layers = [body, {"type": "flatten"}, {"type": "dropout", "rate": 0.2}, {"type": "dense", "units": "auto"}]
        try:
            build_network(NetworkSpec.model_validate({"layers": layers}), RegularizationSpec(), shape, 3)
        except InvalidSpec:
            continue
        if body["type"] == "embedding" and data != "tokens":
            continue
        return data, specification(data, network={"layers": layers})
    raise AssertionError(f"{body['type']} takes none of {SHAPES}")


def _network(**fields: Any) -> Json:
    layers = [{"type": "dense", "units": 6}, {"type": "dropout", "rate": 0.2}, {"type": "dense", "units": "auto"}]
    return {"layers": layers, **fields}


def _loss(body: Json) -> tuple[str, Json]:
    task = Loss.members()[body["type"]].model_validate(body).task
    target = TARGETS.get(body["type"], CLASSES if task == "classification" else NUMBER)
    return "table", specification("table", loss=body, data={"features": ["n1", "n2", "n3"], **target})


def _metric(body: Json) -> tuple[str, Json]:
    classes = "classification" in Metric.members()[body["type"]].tasks
    noise = body["type"] == "gaussian_log_likelihood"
    loss = "cross_entropy" if classes else "gaussian_nll" if noise else "mse"
    data = CLASSES if classes else NUMBER
    return "table", specification("table", loss=loss, data=data, metrics=[body])


def _preprocessing(body: Json) -> tuple[str, Json]:
    if body["type"] == "image_mean":
        return "images", specification("images", data={"preprocessing": [body]})
    # Numbers of either sign: a logarithm has to be mirrored.
    body = {**body, "signed": True} if body["type"] == "log" else body
    features = FEATURES.get(body["type"], ["n1", "n2", "n3"])
    return "table", specification("table", data={"features": features, "preprocessing": [body]})


def _pretraining(body: Json) -> tuple[str, Json]:
    return "table", specification("table", network=_network(activation="sigmoid"), pretrain=body)


PLACES: dict[str, Callable[[Json], tuple[str, Json]]] = {
    "activation": lambda body: ("table", specification("table", network=_network(activation=body))),
    "initializer": lambda body: ("table", specification("table", network=_network(initializer=body))),
    "loss": _loss,
    "metric": _metric,
    "optimizer": lambda body: ("table", specification("table", optimizer=body)),
    "schedule": lambda body: ("table", specification("table", schedule=body)),
    "averaging": lambda body: ("table", specification("table", training={"averaging": body})),
    "pretraining": lambda body: (
        "table",
        specification("table", network=_network(activation="sigmoid"), pretrain=body),
    ),
    "preprocessing": _preprocessing,
    "augmentation": lambda body: ("images", specification("images", data={"augmentation": [body]})),
    "mixing": lambda body: ("images", specification("images", regularization={"mixing": body})),
}
"""Where a block of each family stands in a specification."""
