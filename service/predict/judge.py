"""Holding predictions against the truth: every figure of an evaluation, added up over batches of rows."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from service.blocks.class_metrics import THRESHOLD
from service.blocks.metrics import Metric
from service.errors import InvalidInput, Problem
from service.predict.answers import most_rows
from service.predict.cache import LoadedModel
from service.predict.labelled import Labelled
from service.predict.plan import Plan
from service.predict.sampling import outputs_of
from service.uncertainty.quality import ClassQuality, ValueQuality
from service.uncertainty.samples import ClassUncertainty, ValueUncertainty
from service.uncertainty.selection import RiskCoverage


class MetricSums:
    """Metrics of a specification, of the mean predictions."""

    def __init__(self, loaded: LoadedModel, metrics: Iterable[Metric]) -> None:
        self._target, self._metrics = loaded.target, list(metrics)
        self._sums: dict[str, Tensor] = {}

    def truth(self, y: Tensor) -> Tensor:
        """Return the encoded target as predictions are compared with it: numbers in their own units."""
        return torch.from_numpy(self._target.decode(y.numpy())) if self._target.task == "regression" else y

    def add(self, found: ClassUncertainty | ValueUncertainty, y: Tensor) -> None:
        """Take in what samples say of some rows, and their encoded target."""
        truth = self.truth(y)
        if isinstance(found, ValueUncertainty):
            prediction = found.mean
            variance = None if found.aleatoric_std is None else found.std.square()
        else:
            prediction, variance = found.probabilities, None
        for metric in self._metrics:
            fresh = metric.sums(prediction, truth, variance)
            known = self._sums.get(metric.key)
            self._sums[metric.key] = fresh if known is None else known + fresh

    def values(self) -> dict[str, Any]:
        """Return every metric by name."""
        return {metric.key: metric.value(self._sums[metric.key]) for metric in self._metrics}


class Judge:
    """Metrics, calibration and selection of one evaluation."""

    def __init__(self, loaded: LoadedModel, plan: Plan, level: float, by: str) -> None:
        self._by, self._risk = by, RiskCoverage()
        self.metrics = MetricSums(loaded, loaded.spec.metrics)
        threshold = plan.calibration.threshold(level) if plan.calibration else None
        if loaded.target.task == "regression":
            # An interval without end has no width.
            known = threshold is not None and bool(threshold.isfinite().all())
            self._quality: ClassQuality | ValueQuality = ValueQuality(level, threshold if known else None)
        else:
            self._quality = ClassQuality(level, threshold)

    def add(self, found: ClassUncertainty | ValueUncertainty, y: Tensor) -> None:
        """Take in what samples say of some rows, and their encoded target."""
        truth = self.metrics.truth(y)
        self.metrics.add(found, y)
        if isinstance(found, ValueUncertainty):
            assert isinstance(self._quality, ValueQuality)
            self._quality.add(found, truth)
        else:
            assert isinstance(self._quality, ClassQuality)
            self._quality.add(found.probabilities, truth)
        self._risk.add(found.doubts[self._by], _risks(found, truth))

    def answer(self) -> dict[str, Any]:
        """Return what was found, as the fields of an answer."""
        return {
            "metrics": self.metrics.values() | self._quality.values(),
            "reliability": self._quality.reliability(),
            "risk_coverage": {"by": self._by, **self._risk.values()},
        }


def _risks(found: ClassUncertainty | ValueUncertainty, truth: Tensor) -> Tensor:
    """Return how wrong each row is, [R]: 0 or 1, the share of wrong labels, or the squared error."""
    if isinstance(found, ValueUncertainty):
        return (found.mean - truth).square().mean(-1)
    if truth.ndim > 1:
        return ((found.probabilities >= THRESHOLD) != (truth >= THRESHOLD)).double().mean(-1)
    return (torch.from_numpy(found.probabilities.numpy().argmax(-1)) != truth).double()


def judge(
    loaded: LoadedModel, plan: Plan, part: Labelled, seed: int, tile_bytes: int, sums: Judge | MetricSums
) -> None:
    """Predict some rows and hold them against their truth.

    Raises:
        InvalidInput: An output is not finite.
    """
    monte_carlo, answers = loaded.monte_carlo, plan.answers
    most = most_rows(answers, plan.networks, tile_bytes) if answers.holds_samples else None
    with torch.inference_mode():
        for chunk in monte_carlo.chunks(part.x, tile_bytes, most):
            found = answers.gather(outputs_of(monte_carlo, chunk, plan.samples, seed))
            mean = found.mean if isinstance(found, ValueUncertainty) else found.probabilities
            if not bool(mean.isfinite().all()):
                row = part.start + chunk.rows.start + int((~mean.isfinite().all(-1)).nonzero()[0, 0])
                message = f"row {row}: what the network makes of it is not a finite number"
                raise InvalidInput([Problem("dataset", message)])
            sums.add(found, part.y[chunk.rows])
