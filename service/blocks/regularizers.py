"""Penalties on kernels, constraints on kernels, and early stopping."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from service.blocks.base import Strict


class Regularizer(Strict):
    """Penalty `l1 * sum(|w|) + l2 * sum(w^2)` of a kernel, added to the loss; biases are exempt.

    Reference: Zou and Hastie 2005, "Regularization and Variable Selection via the Elastic Net", for both at once.
    """

    l1: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the sum of absolute values."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the sum of squares (not halved)."""

    def penalty(self, weight: Tensor) -> Tensor:
        """Return the penalty, a scalar."""
        total = weight.new_zeros(())
        if self.l1:
            total = total + self.l1 * weight.abs().sum()
        if self.l2:
            total = total + self.l2 * weight.square().sum()
        return total


class Constraint(Strict):
    """What a kernel is projected onto after every step."""

    max_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest Euclidean norm of the weights into one unit (Srivastava et al. 2014, "Dropout", section 5.1)."""

    @torch.no_grad()
    def project_(self, weight: Tensor) -> None:
        """Project a kernel [out, in, *kernel] in place."""
        if self.max_norm is not None:
            norms = weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1))
            weight.mul_(torch.clamp(self.max_norm / norms.clamp_min(1e-12), max=1.0))


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
