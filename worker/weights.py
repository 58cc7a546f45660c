"""How much each row counts, as a column of the data set says."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.data.frame import Frame
from service.errors import InvalidSpec, Problem


def weights_of(frame: Frame, name: str, train: NDArray[np.int64]) -> Tensor:
    """Return the weights of all rows, float32 [rows], divided by their mean over the training rows.

    Raises:
        InvalidSpec: A weight is missing, infinite or negative, or those of the training rows are all 0.
    """
    values = frame[name].values
    if not np.isfinite(values).all() or values.min() < 0:
        raise _refusal(name, "has weights that are missing, infinite or negative")
    mean = values[train].mean()
    if not mean > 0:
        raise _refusal(name, "gives all training rows the weight 0; none would count")
    with np.errstate(over="ignore"):
        weights = (values / mean).astype(np.float32)
    if not np.isfinite(weights).all():
        raise _refusal(name, "has weights too far apart for float32")
    return torch.from_numpy(weights)


def _refusal(name: str, why: str) -> InvalidSpec:
    return InvalidSpec([Problem("data.sample_weight", f"column {name!r} {why}", name, {"ge": 0})])
