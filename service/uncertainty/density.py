"""How probable a true value is to the samples of a prediction.

Shape letters: T samples.

Reference: Gal and Ghahramani 2016, "Dropout as a Bayesian Approximation", appendix, eq. 22 (the estimator of the
predictive log-likelihood).
"""

import math

import torch
from torch import Tensor


def log_density(y: Tensor, values: Tensor, stds: Tensor) -> Tensor:
    """Return log(1/T sum_t N(y; f_t, s_t^2)) in nats, [...]: the mixture of the normal noise around every sample.

    Shape: `y` [...], `values` and `stds` [T, ...] or what broadcasts to it, all in the target's own units.
    """
    logs = -0.5 * ((y - values) / stds).square() - stds.log() - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(logs, 0) - math.log(len(values))
