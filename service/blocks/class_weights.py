"""What a row of each class counts in the loss."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from service.blocks.values import Says

Weight = Annotated[float, Field(ge=0, le=1e6)]
ClassWeights = Annotated[
    Literal["balanced"] | dict[str, Weight] | None,
    Says('"balanced", or an object from classes to numbers from 0 to 1e6'),
]


def weights_of(
    wanted: Literal["balanced"] | dict[str, float] | None, classes: Sequence[str], counts: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return the weight of each class from its number of training rows; None when all count alike.

    "balanced" is rows / (classes * rows of the class), whose mean over the rows is 1.

    Reference: King and Zeng 2001, "Logistic Regression in Rare Events Data", section 3.2.
    """
    if wanted is None:
        return None
    if wanted == "balanced":
        shares = np.maximum(counts, 1) * (len(counts) / max(1, int(counts.sum())))
        return np.asarray(1.0 / shares, np.float64)
    return np.array([wanted.get(name, 1.0) for name in classes], np.float64)
