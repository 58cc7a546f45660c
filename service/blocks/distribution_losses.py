"""Losses of what a target is drawn from: a normal distribution, a Poisson one, quantiles, shares of a whole."""

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional

from service.blocks.losses import Target
from service.blocks.value_losses import RegressionLoss

LEAST_VARIANCE = 1e-6
"""Added to the variance, in squared units of the (scaled) target: a row that is met exactly would make it 0."""
SUM_ERROR = 1e-3


class GaussianNll(RegressionLoss):
    """Negative log-likelihood of a normal distribution: (log(2 pi s^2) + (y - m)^2 / s^2) / 2, in nats.

    The network gives two numbers a column, the mean m and r with s^2 = softplus(r) + 1e-6: the noise of the data
    (aleatoric), which differs from row to row. Predictions show it beside the spread of the samples.

    Reference: Nix and Weigend 1994, "Estimating the Mean and Variance of the Target Probability Distribution", eq. 2;
    Kendall and Gal 2017, "What Uncertainties Do We Need in Bayesian Deep Learning for Computer Vision?", eq. 5.
    """

    type: Literal["gaussian_nll"] = "gaussian_nll"
    bounded: ClassVar[bool] = False

    def outputs(self, target: Target) -> int:
        return 2 * target.columns

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        variance = self.variance(output)
        error = (target - self.link(output)).square() / variance
        return 0.5 * (torch.log(2 * math.pi * variance) + error).flatten(1).mean(dim=1)

    def link(self, output: Tensor) -> Tensor:
        return output[..., : output.shape[-1] // 2]

    def variance(self, output: Tensor) -> Tensor:
        return functional.softplus(output[..., output.shape[-1] // 2 :]) + LEAST_VARIANCE


class Poisson(RegressionLoss):
    """Negative log-likelihood of counts, less a constant: exp(f) - y f, where the network gives f = log(rate).

    Reference: Nelder and Wedderburn 1972, "Generalized Linear Models", section 3.
    """

    type: Literal["poisson"] = "poisson"
    bounded: ClassVar[bool] = False
    scalable: ClassVar[bool] = False

    def per_value(self, output: Tensor, target: Tensor) -> Tensor:
        return output.exp() - target * output

    def link(self, output: Tensor) -> Tensor:
        return output.exp()

    def refusal(self, target: NDArray[Any], start: int = 0) -> str | None:
        return "holds numbers below 0, which are no counts" if (target < 0).any() else None


class KlDivergence(RegressionLoss):
    """Kullback-Leibler divergence of shares of a whole: sum_k t_k (log t_k - log p_k), p the softmax of the outputs.

    The target columns are numbers from 0 to 1 that sum to 1 in every row.

    Reference: Kullback and Leibler 1951, "On Information and Sufficiency".
    """

    type: Literal["kl_divergence"] = "kl_divergence"
    scalable: ClassVar[bool] = False

    def outputs(self, target: Target) -> int:
        if target.columns < 2:
            raise ValueError("kl_divergence needs at least two target columns, the shares of a whole")
        return target.columns

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        logs = torch.log_softmax(output, dim=-1)
        # Rounding would take the divergence of equal shares a hair below 0.
        return functional.kl_div(logs, target, reduction="none").sum(dim=-1).clamp_min(0.0)

    def link(self, output: Tensor) -> Tensor:
        return torch.softmax(output, dim=-1)

    def refusal(self, target: NDArray[Any], start: int = 0) -> str | None:
        if (target < 0).any():
            return "holds numbers below 0, which are no shares"
        away = np.abs(target.sum(axis=1, dtype=np.float64) - 1.0)
        row = int(away.argmax())
        return f"does not sum to 1 in row {start + row}" if away[row] > SUM_ERROR else None


def _in_order(levels: list[float]) -> list[float]:
    if sorted(set(levels)) != levels:
        raise ValueError("levels must differ and go from the smallest to the largest")
    return levels


class Quantile(RegressionLoss):
    """Pinball loss: max(q e, (q - 1) e) with e = y - f, the mean over the levels q; the network gives each quantile.

    Predictions show the level nearest 0.5 as the mean and all of them under `predicted_quantiles`, in order.

    Reference: Koenker and Bassett 1978, "Regression Quantiles".
    """

    type: Literal["quantile"] = "quantile"
    levels: Annotated[
        list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1, max_length=100), AfterValidator(_in_order)
    ] = [0.05, 0.5, 0.95]
    """Which quantiles, from the smallest to the largest."""

    def outputs(self, target: Target) -> int:
        return len(self.levels) * target.columns

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        error = target.unsqueeze(-1) - self._by_level(output)
        levels = torch.tensor(self.levels, dtype=output.dtype, device=output.device)
        return torch.maximum(levels * error, (levels - 1.0) * error).flatten(1).mean(dim=1)

    def link(self, output: Tensor) -> Tensor:
        middle = min(range(len(self.levels)), key=lambda i: abs(self.levels[i] - 0.5))
        return self.quantiles(output)[..., middle]

    def quantiles(self, output: Tensor) -> Tensor:
        """Return [..., columns, levels]; where the network's cross each other, they are put in order.

        Reference: Chernozhukov, Fernandez-Val and Galichon 2010, "Quantile and Probability Curves Without Crossing".
        """
        return self._by_level(output).sort(dim=-1).values

    def _by_level(self, output: Tensor) -> Tensor:
        return torch.unflatten(output, -1, (-1, len(self.levels)))
