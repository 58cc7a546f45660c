"""The least value of functions of one number, many functions at a time."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

GRID = 17
STEPS = 28
"""Each of which leaves 0.618 of the interval: together a millionth."""
GOLDEN = (math.sqrt(5) - 1) / 2


def argmin(values: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Return where each of K functions is least between `low` and `high`, [K] each.

    `values` gives the value of function k at number k, [K] to [K]. The best of evenly spaced numbers is bettered by
    golden-section search between its neighbours; functions with one valley in that stretch end in it.

    Reference: Kiefer 1953, "Sequential Minimax Search for a Maximum".
    """
    numbers = low + (high - low) * torch.linspace(0, 1, GRID, dtype=low.dtype).unsqueeze(1)
    best = torch.stack([values(number) for number in numbers]).argmin(0)
    step = (high - low) / (GRID - 1)
    middle = low + step * best
    left, right = torch.maximum(low, middle - step), torch.minimum(high, middle + step)
    a, b = right - GOLDEN * (right - left), left + GOLDEN * (right - left)
    at_a, at_b = values(a), values(b)
    for _ in range(STEPS):
        lower = at_a < at_b
        left, right = torch.where(lower, left, a), torch.where(lower, b, right)
        kept, at_kept = torch.where(lower, a, b), torch.where(lower, at_a, at_b)
        fresh = torch.where(lower, right - GOLDEN * (right - left), left + GOLDEN * (right - left))
        at_fresh = values(fresh)
        a, b = torch.where(lower, fresh, kept), torch.where(lower, kept, fresh)
        at_a, at_b = torch.where(lower, at_fresh, at_kept), torch.where(lower, at_kept, at_fresh)
    return torch.where(at_a < at_b, a, b)
