"""The noise of a regression's target: predicted by the network, given by its precision, or fitted.

Shape letters: T samples, R rows, C target columns.

Reference: Gal and Ghahramani 2016, "Dropout as a Bayesian Approximation", eq. 7 and 8 (the precision tau of the model,
here by maximum likelihood instead of a prior); Laves et al. 2020, "Well-Calibrated Regression Uncertainty in Medical
Imaging with Deep Learning", eq. 9 (a factor where the network predicts the noise itself).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from service.blocks.losses import Loss
from service.data.target import TargetCodec
from service.uncertainty.density import log_density
from service.uncertainty.search import argmin

LEAST_SHARE, MOST_SHARE = 1e-4, 2.0
"""Between which a deviation of the noise is looked for, as shares of the deviation of the residuals."""
MOST_FACTOR = 100.0


@dataclass(frozen=True)
class ValueNoise:
    """Variance of the noise in the target's own units: constant by column, or as the network predicts it."""

    loss: Loss
    target: TargetCodec
    precision: Tensor | None = None
    """One over the variance, [C] in float64; None: what the loss models, if anything."""
    factor: Tensor | None = None
    """On the standard deviation that the network predicts, [C] in float64; None: 1."""

    def __call__(self, outputs: Tensor) -> Tensor | None:
        """Return the variance around each output, [..., outputs] to [..., C]; None where nothing is known of it."""
        if self.precision is not None:
            return (1.0 / self.precision).expand(*outputs.shape[:-1], -1)
        variance = self.loss.variance(outputs)
        if variance is None:
            return None
        scale = torch.from_numpy(self.target.scale)
        return variance * (scale if self.factor is None else scale * self.factor).square()


def fit_deviation(y: Tensor, values: Tensor) -> Tensor:
    """Return the likeliest standard deviation of noise that is the same for all rows, [C], never 0.

    It makes sum_r log(mean_t N(y_r; f_t(x_r), s^2)) largest, the log-likelihood of the predictive distribution.

    Shape: `y` [R, C], `values` [T, R, C], both in the target's own units.
    """
    residual = (y - values).square().mean((0, 1)).sqrt()
    # Without any residual there is nothing to measure by; what float32 can tell apart at this size must do.
    floor = y.abs().amax(0).clamp_min(1.0) * torch.finfo(torch.float32).eps
    base = torch.maximum(residual, floor)
    low = torch.full_like(base, math.log(LEAST_SHARE))
    share = argmin(lambda x: _surprise(y, values, base * x.exp()), low, torch.full_like(base, MOST_SHARE).log())
    return base * share.exp()


def fit_factor(y: Tensor, values: Tensor, stds: Tensor) -> Tensor:
    """Return the likeliest factor on the deviations that the network predicts, [C].

    Shape: `y` [R, C], `values` and `stds` [T, R, C].
    """
    ends = torch.full_like(y[0], math.log(MOST_FACTOR))
    found = argmin(lambda x: _surprise(y, values, stds * x.exp()), -ends, ends)
    return found.exp()


def _surprise(y: Tensor, values: Tensor, stds: Tensor) -> Tensor:
    """Return minus the log-likelihood of each column, [C]."""
    return -log_density(y, values, stds).sum(0)
