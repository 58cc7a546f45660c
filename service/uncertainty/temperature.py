"""Temperature: what divides the logits of every sample so that the mean probabilities come true.

Shape letters: T samples, R rows, K classes or labels, O outputs.

Reference: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2; Laves et al. 2019, "Well-calibrated
Model Uncertainty with Temperature Scaling for Dropout Variational Inference", eq. 8.
"""

import math

import torch
from torch import Tensor

from service.blocks.losses import Loss
from service.blocks.probability_metrics import LEAST
from service.uncertainty.samples import Link
from service.uncertainty.search import argmin

WIDEST = math.log(20.0)
PRIOR_STD = 0.5
"""Deviation of log temperature before any row is seen. Where the network is right on all of a few rows, the likelihood
alone would make it certain of everything."""


def tempered(loss: Loss, temperature: Tensor | None) -> Link:
    """Return the link of a loss behind a temperature, [1] or one a label; None: the link itself."""
    if temperature is None:
        return loss.link
    return lambda outputs: loss.link(outputs / temperature.to(outputs.device))


def fit_temperature(loss: Loss, outputs: Tensor, truth: Tensor) -> Tensor:
    """Return the likeliest temperature, [1]; for several labels one each, [labels].

    It makes -sum_r log(mean_t p_t(y_r | x_r)) + (log temperature)^2 / (2 * 0.5^2) least, so that on these rows the
    likelihood is never below that of a temperature of 1.

    Shape: `outputs` [T, R, O]; `truth` int64 [R], or float [R, labels].
    """
    logits = outputs.double()

    def surprise(log_temperature: Tensor) -> Tensor:
        p = loss.link(logits / log_temperature.exp()).mean(0)
        right = torch.where(truth > 0, p, 1.0 - p) if truth.ndim > 1 else p.gather(1, truth[:, None])
        return (log_temperature / PRIOR_STD).square() / 2 - right.clamp_min(LEAST).log().sum(0)

    ends = torch.full((truth.shape[1] if truth.ndim > 1 else 1,), WIDEST, dtype=torch.float64)
    found = argmin(surprise, -ends, ends)
    none = torch.zeros_like(found)
    return torch.where(surprise(found) < surprise(none), found, none).exp()
