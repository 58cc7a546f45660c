"""Answering only what the model is sure of: how wrong the rest is.

Reference: El-Yaniv and Wiener 2010, "On the Foundations of Noise-free Selective Classification", section 2; Geifman,
Uziel and El-Yaniv 2019, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", section 3 (the area).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

POINTS = 20


class RiskCoverage:
    """The curve of the mean risk of the surest rows over their share: of each row two numbers are held."""

    def __init__(self) -> None:
        self._doubts: list[Tensor] = []
        self._risks: list[Tensor] = []

    def add(self, doubt: Tensor, risk: Tensor) -> None:
        """Take in how unsure the model is of rows, and how wrong it is, [R] each."""
        self._doubts.append(doubt.double())
        self._risks.append(risk.double())

    def values(self) -> dict[str, Any]:
        """Return the area under the curve (mean over all shares; a random order has the risk of all rows), and points.

        A point is what comes of a limit on the doubt: `coverage`, the share of rows that stay, and their mean `risk`.
        """
        doubt, risk = (torch.cat(parts).numpy() for parts in (self._doubts, self._risks))
        order = np.argsort(doubt, kind="stable")
        means = np.cumsum(risk[order]) / np.arange(1, len(risk) + 1)
        counts = sorted({-(-len(risk) * i // POINTS) for i in range(1, POINTS + 1)})
        points = [
            {"coverage": count / len(risk), "risk": float(means[count - 1]), "limit": float(doubt[order[count - 1]])}
            for count in counts
        ]
        return {"area": float(means.mean()), "points": points}
