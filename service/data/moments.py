"""Count, mean, variance and range of numbers that come in pieces."""

import math
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray


class Summary(TypedDict):
    """Statistics as a profile shows them; None where there are none, or none that is finite."""

    min: float | None
    max: float | None
    mean: float | None
    std: float | None


@dataclass
class Moments:
    """Running moments; `squares` is the sum of squared distances from the mean.

    Reference: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    min: float = math.inf
    max: float = -math.inf

    def add(self, values: NDArray[np.float64], weights: NDArray[np.int64] | None = None) -> None:
        """Take in finite numbers, each standing for `weights` of itself."""
        if not len(values):
            return
        count = len(values) if weights is None else int(weights.sum())
        # Numbers near the end of float64's range have moments beyond it; `summary` leaves those out.
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean() if weights is None else (values * weights).sum() / count)
            distances = (values - mean) ** 2
            squares = float(distances.sum() if weights is None else (distances * weights).sum())
            self._join(count, mean, squares)
        self.min, self.max = min(self.min, float(values.min())), max(self.max, float(values.max()))

    def _join(self, count: int, mean: float, squares: float) -> None:
        total = self.count + count
        step = mean - self.mean
        self.squares += squares + step * step * (self.count * count / total)
        self.mean += step * (count / total)
        self.count = total

    def summary(self) -> Summary:
        """Return the statistics of everything that was added."""
        if not self.count:
            return Summary(min=None, max=None, mean=None, std=None)
        std = math.sqrt(self.squares / self.count) if math.isfinite(self.squares) else None
        mean = self.mean if math.isfinite(self.mean) else None
        return Summary(min=self.min, max=self.max, mean=mean, std=std)
