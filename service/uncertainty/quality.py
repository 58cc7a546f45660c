"""How good predictions with their uncertainty are: sums over batches of rows, and what they come to.

Shape letters: R rows, K classes or labels, C target columns, T samples.

Reference: Gneiting, Balabdaoui and Raftery 2007, "Probabilistic Forecasts, Calibration and Sharpness" (coverage says
whether predictions tell the truth, sharpness how much they say).
"""

import math
from typing import Any

import torch
from torch import Tensor

from service.blocks.metrics import Metric, ratio
from service.blocks.probability_metrics import Brier, Ece, LogLoss
from service.uncertainty.samples import ValueUncertainty
from service.uncertainty.sets import credible_sets, sets_below

LEVELS = 20
"""Equal steps of the level at which intervals are looked at."""


class ClassQuality:
    """Judges probabilities of classes, or of labels that may hold together.

    `nll` log-loss, `brier` score, `ece` expected calibration error (of labels: of every yes and no); `coverage` share
    of rows whose class is in the smallest set of classes that hold `level` of the probability, `sharpness` the mean
    size of that set. With a conformal threshold, [1] or [labels], the same of its sets under `conformal`; there labels
    are covered when those that hold are in the set.
    """

    def __init__(self, level: float, threshold: Tensor | None = None) -> None:
        self._level, self._threshold = level, threshold
        self._metrics: dict[str, Metric] = {"nll": LogLoss(), "brier": Brier(), "ece": Ece()}
        self._sums: dict[str, Tensor] = {}

    def add(self, probabilities: Tensor, truth: Tensor) -> None:
        """Take in mean probabilities [R, K], and class indices int64 [R] or labels [R, K]."""
        labelled = truth.ndim > 1
        yes_or_no = torch.stack([1.0 - probabilities, probabilities], -1).flatten(0, 1) if labelled else probabilities
        answers = truth.flatten().long() if labelled else truth
        self._add("nll", self._metrics["nll"].sums(probabilities, truth))
        self._add("brier", self._metrics["brier"].sums(probabilities, truth))
        self._add("ece", self._metrics["ece"].sums(yes_or_no, answers))
        if not labelled:
            self._add_sets("sets", credible_sets(probabilities, self._level), truth)
        if self._threshold is not None:
            self._add_sets("conformal", sets_below(probabilities, self._threshold), truth)

    def _add_sets(self, name: str, sets: Tensor, truth: Tensor) -> None:
        inside = sets & (truth > 0) if truth.ndim > 1 else sets.gather(1, truth[:, None])
        wanted = (truth > 0).sum() if truth.ndim > 1 else torch.tensor(len(truth))
        self._add(name, torch.stack([inside.sum(), wanted, sets.sum(), torch.tensor(len(truth))]).double())

    def _add(self, name: str, sums: Tensor) -> None:
        self._sums[name] = self._sums[name] + sums if name in self._sums else sums

    def values(self) -> dict[str, Any]:
        """Return every figure by name."""
        found: dict[str, Any] = {name: metric.value(self._sums[name]) for name, metric in self._metrics.items()}
        found |= self._covered("sets") if "sets" in self._sums else {"coverage": None, "sharpness": None}
        return found | {"conformal": self._covered("conformal") if self._threshold is not None else None}

    def _covered(self, name: str) -> dict[str, float]:
        inside, wanted, size, rows = self._sums[name].tolist()
        return {"coverage": ratio(inside, wanted), "sharpness": ratio(size, rows)}

    def reliability(self) -> list[dict[str, float]]:
        """Return the points of the reliability curve: of each bin the mean confidence, and how often it was right."""
        rows, sure, right = self._sums["ece"].view(3, -1).tolist()
        return [
            {"confidence": s / n, "observed": r / n, "rows": n} for n, s, r in zip(rows, sure, right, strict=True) if n
        ]


class ValueQuality:
    """Judges predictions of numbers; figures of several columns are of all their values together.

    `nll` of the mixture of all samples, each with its noise; where nothing is known of the noise, of a normal
    distribution with the mean and deviation of the samples. `rmse`; `coverage` share of values in the central interval
    of `level`, `sharpness` the mean standard deviation, `ece` how far the coverages of central intervals of 5, 10, ...
    95 % are from that, on average (Kuleshov et al. 2018, "Accurate Uncertainties for Deep Learning Using Calibrated
    Regression", eq. 9). With conformal thresholds, [C], `conformal` has the coverage and the mean width of their
    intervals.
    """

    def __init__(self, level: float, threshold: Tensor | None = None) -> None:
        self._level, self._threshold = level, threshold
        self._sums = torch.zeros(7, dtype=torch.float64)
        self._central = torch.zeros(LEVELS, dtype=torch.float64)

    def add(self, found: ValueUncertainty, truth: Tensor) -> None:
        """Take in what samples say, and the true values [R, C] in their own units."""
        error = (truth - found.mean).square()
        # How much of the probability lies nearer to the median than the truth does, 0 to 1.
        away = (2.0 * found.share_below(truth) - 1.0).abs()
        wide = torch.zeros_like(found.std) if self._threshold is None else self._threshold * found.std
        parts = [
            torch.full_like(error, 1.0), error, -found.log_density(truth), found.std, (away <= self._level).double(),
            ((truth - found.mean).abs() <= wide).double(), 2.0 * wide,
        ]  # fmt: skip
        self._sums += torch.stack([part.sum() for part in parts])
        # A level has its upper end, as a bin of probabilities has.
        place = (torch.ceil(away * LEVELS) - 1).long().clamp(0, LEVELS - 1)
        self._central += torch.bincount(place.flatten(), minlength=LEVELS)

    def values(self) -> dict[str, Any]:
        """Return every figure by name; `nll` is None where a deviation of 0 makes it infinite."""
        count, error, surprise, std, inside, conformal, width = self._sums.tolist()
        off = [abs(point["observed"] - point["confidence"]) for point in self.reliability()]
        return {
            "nll": surprise / count if math.isfinite(surprise) else None,
            "rmse": math.sqrt(ratio(error, count)),
            "ece": sum(off) / len(off),
            "coverage": ratio(inside, count),
            "sharpness": ratio(std, count),
            "conformal": None
            if self._threshold is None
            else {"coverage": ratio(conformal, count), "sharpness": ratio(width, count)},
        }

    def reliability(self) -> list[dict[str, float]]:
        """Return the points of the reliability curve: of each level the share of values in its central interval."""
        count = float(self._sums[0])
        shares = (self._central.cumsum(0) / count).tolist()[:-1]
        return [{"confidence": (i + 1) / LEVELS, "observed": share, "rows": count} for i, share in enumerate(shares)]
