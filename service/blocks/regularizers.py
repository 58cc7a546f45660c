"""Penalties on kernels, constraints on kernels, and early stopping."""

from typing import Annotated

from pydantic import Field

from service.blocks.base import Strict


class Regularizer(Strict):
    """Penalty `l1 * sum(|w|) + l2 * sum(w^2)` of a kernel, added to the loss; biases are exempt."""

    l1: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the sum of absolute values."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the sum of squares (not halved)."""


class Constraint(Strict):
    """What a kernel is projected onto after every step."""

    max_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest Euclidean norm of the weights into one unit."""


class EarlyStopping(Strict):
    """Stop when the monitored value has not got better for `patience` epochs; the best weights are kept.

    Reference: Prechelt 1998, "Early Stopping - But When?".
    """

    monitor: Annotated[str, Field(min_length=1, max_length=80)] = "val_loss"
    """`loss`, a metric's name, or either with `val_` in front for the validation rows."""
    patience: Annotated[int, Field(ge=1)] = 10
    """Epochs without improvement before training stops."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smallest change that counts as an improvement."""
