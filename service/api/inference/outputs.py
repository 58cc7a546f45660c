"""From predictions to tensors, whatever fields predictions have: each field is an output of its name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from service.api.inference.datatypes import Tensor
from service.data.profile import key_of
from service.predict.cache import LoadedModel

NAMES = "names"
"""The parameter that says what stands along the second axis of an output."""


def tensors_of(loaded: LoadedModel, predictions: Sequence[Any]) -> list[Tensor]:
    """Return one tensor for each field of the predictions, [rows, ...].

    Numbers of a regression are FP64, in the target's own units; probabilities and entropies are FP32. A field that
    says nothing is NaN; lists that differ in length from row to row become JSON in text.
    """
    floats = "FP64" if loaded.target.task == "regression" else "FP32"
    return [_tensor(name, [row[name] for row in predictions], floats, loaded) for name in predictions[0]]


def _tensor(name: str, column: list[Any], floats: str, loaded: LoadedModel) -> Tensor:
    first = column[0]
    if isinstance(first, dict):
        names = orjson.dumps(list(first)).decode()
        inner = _tensor(name, [list(row.values()) for row in column], floats, loaded)
        return Tensor(name, inner.datatype, inner.values, {NAMES: names})
    if name == "label" and loaded.target.classes is not None:
        return _labels(name, column, loaded.target.classes)
    if all(value is None for value in column):
        return Tensor(name, floats, np.full(len(column), np.nan))
    if _regular(column):
        return Tensor(name, floats, np.array(column, np.float64))
    return Tensor(name, "BYTES", _texts([orjson.dumps(value).decode() for value in column]))


def _labels(name: str, labels: list[Any], classes: Sequence[Any]) -> Tensor:
    """Return labels in the one datatype that all classes have, else in text."""
    kinds = {type(value) for value in classes}
    if kinds == {bool}:
        return Tensor(name, "BOOL", np.array(labels, bool))
    if kinds == {int} and all(abs(value) < 2**63 for value in classes):
        return Tensor(name, "INT64", np.array(labels, np.int64))
    if kinds <= {int, float}:
        return Tensor(name, "FP64", np.array(labels, np.float64))
    return Tensor(name, "BYTES", _texts([key_of(value) for value in labels]))


def _regular(column: list[Any]) -> bool:
    """Return whether values are numbers, or nested lists of numbers of one shape."""
    try:
        return np.array(column).dtype.kind in "iuf"
    except ValueError:
        return False


def _texts(words: list[str]) -> Any:
    found = np.empty(len(words), object)
    found[:] = words
    return found
