"""Losses of numbers: the mean over the target columns of an error per value."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from service.blocks.losses import Loss, Target, Task


class RegressionLoss(Loss):
    """Base of the losses of numbers: the mean over the target columns of an error per value."""

    scalable: ClassVar[bool] = True
    """True when the target may be scaled, and the loss then means the same."""

    @property
    def task(self) -> Task:
        """Numbers."""
        return "regression"

    def outputs(self, target: Target) -> int:
        return target.columns

    def per_value(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each value, of the shape of both arguments."""
        raise NotImplementedError

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        return self.per_value(output, target).flatten(1).mean(dim=1)


class Mse(RegressionLoss):
    """Mean squared error: (y - f)^2."""

    type: Literal["mse"] = "mse"

    def per_value(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square()


class Mae(RegressionLoss):
    """Mean absolute error: |y - f|."""

    type: Literal["mae"] = "mae"

    def per_value(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).abs()


class Huber(RegressionLoss):
    """Squared near zero, linear beyond `delta`: e^2 / 2 for |e| <= delta, delta * (|e| - delta / 2) otherwise.

    Reference: Huber 1964, "Robust Estimation of a Location Parameter".
    """

    type: Literal["huber"] = "huber"
    delta: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Error from which the loss grows linearly, in units of the (scaled) target."""

    def per_value(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.huber_loss(output, target, reduction="none", delta=self.delta)


class SmoothL1(RegressionLoss):
    """Squared near zero, absolute beyond `beta`: e^2 / (2 beta) for |e| < beta, |e| - beta / 2 otherwise.

    It is `huber` over its delta. Reference: Girshick 2015, "Fast R-CNN", eq. 3.
    """

    type: Literal["smooth_l1"] = "smooth_l1"
    beta: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Error from which the loss grows linearly, in units of the (scaled) target."""

    def per_value(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.smooth_l1_loss(output, target, reduction="none", beta=self.beta)


class LogCosh(RegressionLoss):
    """log(cosh(y - f)): squared near zero, absolute far away, smooth throughout."""

    type: Literal["log_cosh"] = "log_cosh"

    def per_value(self, output: Tensor, target: Tensor) -> Tensor:
        error = output - target
        return error + functional.softplus(-2.0 * error) - math.log(2.0)
