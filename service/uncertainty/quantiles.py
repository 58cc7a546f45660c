"""Quantiles of samples, and of mixtures of normal distributions; how likely either is to stay below a value.

Shape letters: T samples, Q levels.

Reference: Hyndman and Fan 1996, "Sample Quantiles in Statistical Packages".
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

STEPS = 60
"""Halvings of an interval, after which float64 has nothing left to halve; Newton's steps need a tenth of them."""
PRECISION = 1e-12
AT_ONCE = 1 << 20
"""Numbers that all levels together work on at once."""


def quantiles(values: Tensor, levels: Sequence[float]) -> Tensor:
    """Return quantiles along the first axis, [T, ...] to [Q, ...], by linear interpolation (definition 7)."""
    ordered = values.sort(dim=0).values
    place = torch.tensor(levels, dtype=torch.float64) * (len(values) - 1)
    low = place.floor()
    share = (place - low).view(-1, *[1] * (values.ndim - 1))
    below, above = ordered[low.long()], ordered[place.ceil().long()]
    return below + (above - below) * share


def mixture_quantiles(means: Tensor, stds: Tensor, levels: Sequence[float]) -> Tensor:
    """Return quantiles of equal mixtures of normal distributions, [T, ...] each to [Q, ...].

    A quantile of a mixture lies between the least and the largest of its parts'; Newton's steps that leave what is
    known of it are replaced by halvings. Levels 0 and 1 have none that is finite, and are answered with those a
    billionth away.
    """
    if not levels:
        return means.new_zeros(0, *means.shape[1:])
    sure = torch.tensor(levels, dtype=means.dtype).clamp(1e-9, 1.0 - 1e-9)
    size = max(1, AT_ONCE // max(means.numel(), 1))
    parts = [sure[start : start + size] for start in range(0, len(sure), size)]
    return torch.cat([_solved(means, stds, part.view(-1, *[1] * (means.ndim - 1))) for part in parts])


def _solved(means: Tensor, stds: Tensor, levels: Tensor) -> Tensor:
    ends: Tensor = means + stds * torch.special.ndtri(levels).unsqueeze(1)
    low, high, x = ends.amin(1), ends.amax(1), ends.mean(1)
    close = PRECISION * stds.amin(0)
    for _ in range(STEPS):
        away = (x.unsqueeze(1) - means) / stds
        excess = torch.special.ndtr(away).mean(1) - levels
        density = (torch.exp(-0.5 * away.square()) / stds).mean(1) / math.sqrt(2 * math.pi)
        low, high = torch.where(excess < 0, x, low), torch.where(excess < 0, high, x)
        newton = x - excess / density
        following = torch.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
        settled = (following - x).abs() <= close + 4 * torch.finfo(x.dtype).eps * x.abs()
        x = following
        if bool(settled.all()):
            break
    return x


def share_below(y: Tensor, values: Tensor, stds: Tensor | None) -> Tensor:
    """Return how likely a value is to stay below `y`, [...]: a sample [T, ...], or normal noise around one.

    Of a prediction that tells the truth, this is spread evenly from 0 to 1 (probability integral transform).

    Reference: Gneiting, Balabdaoui and Raftery 2007, "Probabilistic Forecasts, Calibration and Sharpness", section 2.
    """
    if stds is None:
        return ((values < y).double() + (values == y) / 2).mean(0)
    below: Tensor = torch.special.ndtr((y - values) / stds).mean(0)
    return below
