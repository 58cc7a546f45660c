"""Metrics: sums that add up over batches on the device, and the number they come to.

Regression metrics see predictions and targets in the target's own units. Sums of several columns are
added up, so a metric of several targets is that of all their values together.
"""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from service.blocks.base import Block, OneOf
from service.blocks.losses import Task


class Metric(Block):
    """A number that says how good predictions are."""

    family = "metric"
    task: ClassVar[Task]
    higher_is_better: ClassVar[bool] = False

    @property
    def key(self) -> str:
        """Name under which values are stored."""
        return self.type

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return what adds up over batches, float64 [k], on the device.

        Shape: `prediction` is what `Loss.link` gives, probabilities [batch, classes] or values
        [batch, columns]; `target` int64 [batch] or float [batch, columns].
        """
        raise NotImplementedError

    def value(self, sums: Tensor) -> float:
        """Return the metric from the added-up sums, NaN where it is not defined."""
        raise NotImplementedError


def _ratio(over: float, under: float) -> float:
    return over / under if under else math.nan


class Accuracy(Metric):
    """Share of rows whose most probable class is the right one."""

    type: Literal["accuracy"] = "accuracy"
    task = "classification"
    higher_is_better = True

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        hits = (prediction.argmax(dim=1) == target).sum().double()
        return torch.stack([hits, hits.new_tensor(float(len(target)))])

    def value(self, sums: Tensor) -> float:
        return _ratio(sums[0].item(), sums[1].item())


class TopKAccuracy(Metric):
    """Share of rows whose class is among the k most probable."""

    type: Literal["top_k_accuracy"] = "top_k_accuracy"
    task = "classification"
    higher_is_better = True
    k: Annotated[int, Field(ge=1)] = 5
    """How many classes count."""

    @property
    def key(self) -> str:
        return f"top_{self.k}_accuracy"

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        best = prediction.topk(min(self.k, prediction.shape[1]), dim=1).indices
        hits = (best == target[:, None]).any(dim=1).sum().double()
        return torch.stack([hits, hits.new_tensor(float(len(target)))])

    def value(self, sums: Tensor) -> float:
        return _ratio(sums[0].item(), sums[1].item())


class ConfusionMetric(Metric):
    """Base of the metrics that follow from true positives, predicted and actual counts of each class."""

    task = "classification"
    higher_is_better = True

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        classes = prediction.shape[1]
        guess = prediction.argmax(dim=1)
        hits = torch.bincount(target[guess == target], minlength=classes)
        counts = [hits, torch.bincount(guess, minlength=classes), torch.bincount(target, minlength=classes)]
        return torch.cat(counts).double()

    def of_class(self, hits: Tensor, guessed: Tensor, actual: Tensor) -> Tensor:
        """Return the value of each class, [classes]."""
        raise NotImplementedError

    def value(self, sums: Tensor) -> float:
        hits, guessed, actual = sums.view(3, -1)
        seen = (guessed + actual) > 0
        return float(self.of_class(hits, guessed, actual)[seen].mean())


class Precision(ConfusionMetric):
    """Share of the rows given a class that are of it, mean over the classes (macro)."""

    type: Literal["precision"] = "precision"

    def of_class(self, hits: Tensor, guessed: Tensor, actual: Tensor) -> Tensor:
        return hits / guessed.clamp_min(1)


class Recall(ConfusionMetric):
    """Share of the rows of a class that are found, mean over the classes (macro)."""

    type: Literal["recall"] = "recall"

    def of_class(self, hits: Tensor, guessed: Tensor, actual: Tensor) -> Tensor:
        return hits / actual.clamp_min(1)


class F1(ConfusionMetric):
    """Harmonic mean of precision and recall of a class, mean over the classes (macro)."""

    type: Literal["f1"] = "f1"

    def of_class(self, hits: Tensor, guessed: Tensor, actual: Tensor) -> Tensor:
        return 2 * hits / (guessed + actual).clamp_min(1)


class MseMetric(Metric):
    """Mean squared error."""

    type: Literal["mse"] = "mse"
    task = "regression"

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        error = prediction.double() - target.double()
        total = error.square().sum()
        return torch.stack([total, total.new_tensor(float(error.numel()))])

    def value(self, sums: Tensor) -> float:
        return _ratio(sums[0].item(), sums[1].item())


class Rmse(MseMetric):
    """Root of the mean squared error."""

    type: Literal["rmse"] = "rmse"  # type: ignore[assignment]

    def value(self, sums: Tensor) -> float:
        return math.sqrt(super().value(sums))


class MaeMetric(Metric):
    """Mean absolute error."""

    type: Literal["mae"] = "mae"
    task = "regression"

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        error = prediction.double() - target.double()
        total = error.abs().sum()
        return torch.stack([total, total.new_tensor(float(error.numel()))])

    def value(self, sums: Tensor) -> float:
        return _ratio(sums[0].item(), sums[1].item())


class R2(Metric):
    """Share of the variance explained: 1 - sum((y - f)^2) / sum((y - mean(y))^2)."""

    type: Literal["r2"] = "r2"
    task = "regression"
    higher_is_better = True

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        y = target.double()
        error = (prediction.double() - y).square().sum()
        return torch.stack([error, y.sum(), y.square().sum(), y.new_tensor(float(y.numel()))])

    def value(self, sums: Tensor) -> float:
        error, total, squares, count = sums.tolist()
        spread = squares - total * total / count if count else 0.0
        return 1.0 - error / spread if spread > 0 else math.nan


DEFAULT_METRICS: dict[Task, list[str]] = {"classification": ["accuracy"], "regression": ["rmse", "mae", "r2"]}
"""What is measured when a spec names no metrics."""

AnyMetric = Annotated[Metric, OneOf()]
