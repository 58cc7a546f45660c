"""Scores of validation rows in their order: what a new row's score is held against.

Reference: Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World"; Lei et al. 2018,
"Distribution-Free Predictive Inference for Regression", theorem 2.2.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

MOST_KEPT = 1_000
ROUNDING = 1e-9
"""What a product of a share and a number of rows may be off by before the next row counts."""


@dataclass(frozen=True)
class Scores:
    """Scores of `rows` rows, sorted; of more than are kept every so many-th, the largest among them."""

    rows: int
    kept: tuple[float, ...]

    @classmethod
    def of(cls, scores: Tensor, most: int = MOST_KEPT) -> Self:
        """Return scores, [R] in any order."""
        ordered, rows = scores.double().sort().values, len(scores)
        count = min(rows, most)
        places = torch.arange(1, count + 1) * rows
        return cls(rows, tuple(ordered[-(-places // count) - 1].tolist()) if count else ())

    def conformal(self, coverage: float) -> float:
        """Return what the score of a new row stays at or below with probability `coverage` or more.

        It is the ceil((R + 1) * coverage)-th of the R scores; infinite where there are too few rows to tell.
        """
        return self._at(math.ceil((self.rows + 1) * coverage - ROUNDING))

    def quantile(self, share: float) -> float:
        """Return the least kept score that at least this share of the rows stays at or below."""
        return self._at(max(1, math.ceil(self.rows * share - ROUNDING)))

    @property
    def most_coverage(self) -> float:
        """The largest coverage that this many rows can speak of."""
        return self.rows / (self.rows + 1)

    def _at(self, rank: int) -> float:
        if rank > self.rows or not self.kept:
            return math.inf
        # Among what is kept, the first whose rank, ceil(i * rows / kept), reaches the one wanted.
        place = (rank - 1) * len(self.kept) // self.rows + 1
        return self.kept[place - 1]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {"rows": self.rows, "scores": list(self.kept)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the scores that `to_json` wrote."""
        return cls(value["rows"], tuple(value["scores"]))
