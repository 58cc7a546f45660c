"""Metrics of numbers."""

import math
from typing import Literal

import torch
from torch import Tensor

from service.blocks.metrics import Metric, ratio


class MseMetric(Metric):
    """Mean squared error."""

    type: Literal["mse"] = "mse"
    tasks = ("regression",)

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        error = prediction.double() - target.double()
        total = error.square().sum()
        return torch.stack([total, torch.full_like(total, float(error.numel()))])

    def value(self, sums: Tensor) -> float:
        return ratio(sums[0].item(), sums[1].item())


class Rmse(MseMetric):
    """Root of the mean squared error."""

    type: Literal["rmse"] = "rmse"  # type: ignore[assignment]  # another tag than that of its base

    def value(self, sums: Tensor) -> float:
        return math.sqrt(super().value(sums))


class MaeMetric(Metric):
    """Mean absolute error."""

    type: Literal["mae"] = "mae"
    tasks = ("regression",)

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        error = prediction.double() - target.double()
        total = error.abs().sum()
        return torch.stack([total, torch.full_like(total, float(error.numel()))])

    def value(self, sums: Tensor) -> float:
        return ratio(sums[0].item(), sums[1].item())


class R2(Metric):
    """Share of the variance explained: 1 - sum((y - f)^2) / sum((y - mean(y))^2)."""

    type: Literal["r2"] = "r2"
    tasks = ("regression",)
    higher_is_better = True

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        y = target.double()
        error = (prediction.double() - y).square().sum()
        return torch.stack([error, y.sum(), y.square().sum(), torch.full_like(error, float(y.numel()))])

    def value(self, sums: Tensor) -> float:
        error, total, squares, count = sums.tolist()
        spread = squares - total * total / count if count else 0.0
        return 1.0 - error / spread if spread > 0 else math.nan


class Mape(Metric):
    """Mean absolute error as a share of the true value, over the values that are not 0."""

    type: Literal["mape"] = "mape"
    tasks = ("regression",)

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        y = target.double()
        counted = y != 0
        shares = ((prediction.double() - y) / torch.where(counted, y, 1.0)).abs() * counted
        return torch.stack([shares.sum(), counted.sum().double()])

    def value(self, sums: Tensor) -> float:
        return ratio(sums[0].item(), sums[1].item())


class GaussianLogLikelihood(Metric):
    """Mean log density of the true values under the predicted normal distributions, in nats of the target's own units.

    For losses that predict a variance, such as `gaussian_nll`.
    """

    type: Literal["gaussian_log_likelihood"] = "gaussian_log_likelihood"
    tasks = ("regression",)
    higher_is_better = True

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        if variance is None:
            return prediction.new_zeros(2, dtype=torch.float64)
        spread, error = variance.double(), target.double() - prediction.double()
        logs = -0.5 * (torch.log(2 * math.pi * spread) + error.square() / spread)
        total = logs.sum()
        return torch.stack([total, torch.full_like(total, float(logs.numel()))])

    def value(self, sums: Tensor) -> float:
        return ratio(sums[0].item(), sums[1].item())
