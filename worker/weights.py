"""How much each row counts in the loss: by its class, and by a column of the data set."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.blocks import class_weights
from service.blocks.losses import ClassLoss
from service.data.frame import Frame
from service.data.pipeline import TargetCodec
from service.data.profile import key_of
from service.errors import InvalidSpec, Problem
from service.spec import JobSpec

Index = NDArray[np.int64]
Weights = NDArray[np.float64]

LARGEST = 1e12
"""How many times the largest weight of a training row that of another row may be; float32 ends much later."""


def weights_of(
    spec: JobSpec, frame: Frame, target: TargetCodec, y: NDArray[Any], train: Index
) -> NDArray[np.float32] | None:
    """Return what each row counts, float32 [rows]: weight of its class times weight of its own; None: all alike.

    Raises:
        InvalidSpec: The column of weights cannot weigh; the problem says why.
    """
    name = spec.data.sample_weight
    by_class = _by_class(spec, target, y, train)
    by_row = None if name is None else _by_row(frame, name, train)
    if by_class is None or by_row is None:
        weights = by_row if by_class is None else by_class
        return None if weights is None else weights.astype(np.float32)
    return (by_class * by_row).astype(np.float32)


def _by_class(spec: JobSpec, target: TargetCodec, y: NDArray[Any], train: Index) -> Weights | None:
    if not isinstance(spec.loss, ClassLoss) or target.classes is None:
        return None
    counts = np.bincount(y[train], minlength=len(target.classes))
    names = [key_of(value) for value in target.classes]
    weights = class_weights.weights_of(spec.loss.class_weights, names, counts)
    return None if weights is None else weights[y]


def _by_row(frame: Frame, name: str, train: Index) -> Weights:
    """Return the column, divided by its mean over the training rows."""
    values = frame[name].values
    if not np.isfinite(values).all() or values.min() < 0:
        raise _refusal(name, "has weights that are missing, infinite or negative")
    largest = values[train].max()
    if not largest > 0:
        raise _refusal(name, "gives all training rows the weight 0; none would count")
    if values.max() / LARGEST > largest:
        raise _refusal(name, "has weights too far apart")
    scaled = values / largest  # a mean of numbers near the largest float would be infinite
    weights: Weights = scaled / scaled[train].mean()
    return weights


def _refusal(name: str, why: str) -> InvalidSpec:
    return InvalidSpec([Problem("data.sample_weight", f"column {name!r} {why}", name, {"ge": 0})])
