"""Specifications to give advice on: good ones that break no rule, and changes to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.advice import Advice, advise
from service.blocks.base import Shape
from service.data.pipeline import check_columns, input_shape_of, target_of, token_count_of
from service.network import build_network
from service.problems import read_draft
from tests.support.uploaded import Uploader

Json = dict[str, Any]
DATASET = "ds_" + "0" * 26
OUT: Json = {"type": "dense", "units": "auto"}
DROP: Json = {"type": "dropout", "rate": 0.2}
POOL: Json = {"type": "global_average_pool"}
NORM: Json = {"type": "layer_norm", "axes": "last"}
PLACES: Json = {"type": "positional_embedding"}
ATTENTION: Json = {"type": "multi_head_attention", "heads": 2, "dropout": 0.1}


@dataclass(frozen=True)
class Given:
    """A specification, and the data behind it: the shape of a row and the outputs, or a CSV file."""

    body: Json
    shape: Shape = ()
    outputs: int = 3
    csv: str | None = None

    def advice(self, folder: Path) -> list[Advice]:
        """Return the advice on it, having asserted that a job of it would be accepted."""
        draft = read_draft(self.body)
        assert draft.spec is not None, draft.problems
        spec, profile, shape, outputs, tokens = draft.spec, None, self.shape, self.outputs, None
        if self.csv is not None:
            profile = Uploader(folder)(self.csv).profile
            assert check_columns(spec, profile.columns, profile.rows) == []
            shape, tokens = input_shape_of(spec, profile.columns), token_count_of(spec, profile.columns)
            outputs = spec.loss.outputs(target_of(spec, profile.columns))
        network = build_network(spec.network, spec.regularization, shape, outputs, vocabulary=tokens)
        return advise(spec, network, profile)


def dense(units: int = 32, activation: Any = "relu", **fields: Any) -> Json:
    """A dense layer."""
    return {"type": "dense", "units": units, "activation": activation, **fields}


def conv(kernel_size: int = 3, filters: int = 16, activation: Any = "relu", **fields: Any) -> Json:
    """A convolution of images that keeps their size."""
    body = {"type": "conv2d", "filters": filters, "kernel_size": kernel_size, "padding": "same"}
    return {**body, "activation": activation, **fields}


def residual(*layers: Json | str, **fields: Any) -> Json:
    """Layers with a way past them."""
    return {"type": "residual", "layers": list(layers), **fields}


def lstm(units: int = 16, **fields: Any) -> Json:
    """A recurrent layer with dropout."""
    return {"type": "lstm", "units": units, "dropout": 0.2, **fields}


def merged(body: Json, changes: Json) -> Json:
    """Return `body` with objects merged into its own; a block replaces a block."""
    both = {**body}
    for name, value in changes.items():
        old = both.get(name)
        merges = isinstance(old, dict) and isinstance(value, dict) and "type" not in value
        both[name] = merged(old, value) if merges else value
    return both


def _good(layers: Sequence[Json | str], changes: Json) -> Json:
    body: Json = {
        "network": {"layers": [*layers]},
        "loss": "cross_entropy",
        "optimizer": "adamw",
        "data": {
            "dataset": DATASET,
            "target": "y",
            "split": {"validation": 0.2, "test": 0.1},
            "preprocessing": "standardize",
        },
        "training": {"epochs": 40, "batch_size": 32},
    }
    return merged(body, changes)


def table(*layers: Json | str, shape: Shape = (8,), outputs: int = 3, **changes: Any) -> Given:
    """A small network on numbers that breaks no rule; `layers` replace those before the last."""
    return Given(_good([*(layers or (dense(), DROP)), OUT], changes), shape, outputs)


def number(*layers: Json | str, **changes: Any) -> Given:
    """The same, for a regression."""
    return table(
        *layers, outputs=1, **merged({"loss": "mse", "data": {"target_preprocessing": "standardize"}}, changes)
    )


def images(*layers: Json | str, shape: Shape = (3, 32, 32), **changes: Any) -> Given:
    """A small convolutional network that breaks no rule."""
    return Given(_good([*(layers or (conv(), "max_pool2d", conv(filters=32), POOL, DROP)), OUT], changes), shape)


def sequences(*layers: Json | str, shape: Shape = (12, 4), **changes: Any) -> Given:
    """A small recurrent network that breaks no rule."""
    return Given(_good([*(layers or (lstm(),)), OUT], changes), shape)


def rows(csv: str, *layers: Json | str, **changes: Any) -> Given:
    """The network of `table` on a data set."""
    return Given(_good([*(layers or (dense(), DROP)), OUT], changes), csv=csv)


def columns(count: int = 200, **values: Any) -> str:
    """Return a CSV of columns; each is a function of the row's number, `x` and `y` as they should be by default."""
    chosen = {"x": lambda i: f"{(i * 37 % 100) / 50 - 1:.3f}", "y": lambda i: "abc"[i % 3], **values}
    lines = [",".join(str(value(i)) for value in chosen.values()) for i in range(count)]
    return "\n".join([",".join(chosen), *lines])


@dataclass(frozen=True)
class Case:
    """A rule, a specification that breaks it at `path`, and one hardly different that does not."""

    code: str
    path: str
    breaks: Given
    keeps: Given
