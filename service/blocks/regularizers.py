"""Penalties on kernels and outputs, constraints on kernels, and early stopping."""

from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor

from service.blocks.base import Strict


class Regularizer(Strict):
    """Penalty `l1 * sum(|w|) + l2 * sum(w^2)` of a kernel, added to the loss; biases are exempt.

    The penalty on activity is the same of the layer's outputs, behind its activation, and a mean over the rows.

    Reference: Zou and Hastie 2005, "Regularization and Variable Selection via the Elastic Net", for both at once;
    Glorot, Bordes and Bengio 2011, "Deep Sparse Rectifier Neural Networks", section 3.3, for activity.
    """

    l1: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Weight of the sum of absolute values."""
    l2: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Weight of the sum of squares (not halved)."""
    activity_l1: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Weight of the sum of the absolute outputs of a row; it makes outputs sparse."""
    activity_l2: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Weight of the sum of the squared outputs of a row."""

    @property
    def on_weights(self) -> bool:
        """True when it penalises kernels."""
        return bool(self.l1 or self.l2)

    @property
    def on_activity(self) -> bool:
        """True when it penalises outputs."""
        return bool(self.activity_l1 or self.activity_l2)

    def penalty(self, weight: Tensor) -> Tensor:
        """Return the penalty on a kernel, a scalar."""
        return _elastic(weight, self.l1, self.l2)

    def activity_penalty(self, output: Tensor) -> Tensor:
        """Return the penalty on outputs [rows, ...], a scalar: the mean over the rows."""
        return _elastic(output, self.activity_l1, self.activity_l2) / len(output)


def _elastic(values: Tensor, l1: float, l2: float) -> Tensor:
    total = values.new_zeros(())
    if l1:
        total = total + l1 * values.abs().sum()
    if l2:
        total = total + l2 * values.square().sum()
    return total


class Constraint(Strict):
    """What a kernel is projected onto after every step."""

    max_norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Largest Euclidean norm of the weights into one unit (Srivastava et al. 2014, "Dropout", section 5.1)."""
    unit_norm: bool = False
    """Keep the Euclidean norm of the weights into one unit at 1 (Salimans and Kingma 2016, section 2, with g = 1)."""
    non_negative: bool = False
    """Set negative weights to 0, before any norm is looked at (Chorowski and Zurada 2015)."""

    @model_validator(mode="after")
    def _one_norm(self) -> "Constraint":
        if self.unit_norm and self.max_norm is not None:
            raise ValueError("max_norm and unit_norm exclude each other: both say how long weights are")
        return self

    @property
    def constrains(self) -> bool:
        """True when it changes any weight."""
        return self.max_norm is not None or self.unit_norm or self.non_negative

    @torch.no_grad()
    def project_(self, weight: Tensor) -> None:
        """Project a kernel [out, in, *kernel] in place; weights that are all 0 stay so."""
        if self.non_negative:
            weight.clamp_min_(0.0)
        if self.max_norm is None and not self.unit_norm:
            return
        norms = weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1)).clamp_min(1e-12)
        weight.mul_(1.0 / norms if self.max_norm is None else torch.clamp(self.max_norm / norms, max=1.0))


class EarlyStopping(Strict):
    """Stop when the monitored value has not got better for `patience` epochs; the best weights are kept.

    Reference: Prechelt 1998, "Early Stopping - But When?".
    """

    monitor: Annotated[str, Field(min_length=1, max_length=80)] = "val_loss"
    """`loss`, a metric's name, or either with `val_` in front for the validation rows."""
    patience: Annotated[int, Field(ge=1)] = 10
    """Epochs without improvement before training stops."""
    min_delta: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Smallest change that counts as an improvement."""
