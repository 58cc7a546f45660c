"""Metrics of decisions: which class, which labels."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from service.blocks.metrics import Metric, ratio

THRESHOLD = 0.5
"""Probability from which a label is said to hold."""


class Accuracy(Metric):
    """Share of rows whose most probable class is the right one; of labels, share of all that are said right."""

    type: Literal["accuracy"] = "accuracy"
    counts = True
    tasks = ("classification", "multi_label")
    higher_is_better = True

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        if target.ndim > 1:
            right = (prediction >= THRESHOLD) == (target >= THRESHOLD)
        else:
            right = prediction.argmax(dim=1) == target
        hits = right.sum().double()
        return torch.stack([hits, torch.full_like(hits, float(right.numel()))])

    def value(self, sums: Tensor) -> float:
        return ratio(sums[0].item(), sums[1].item())


class TopKAccuracy(Metric):
    """Share of rows whose class is among the k most probable."""

    type: Literal["top_k_accuracy"] = "top_k_accuracy"
    counts = True
    tasks = ("classification",)
    higher_is_better = True
    k: Annotated[int, Field(ge=1)] = 5
    """How many classes count."""

    @property
    def key(self) -> str:
        return f"top_{self.k}_accuracy"

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        best = prediction.topk(min(self.k, prediction.shape[1]), dim=1).indices
        hits = (best == target[:, None]).any(dim=1).sum().double()
        return torch.stack([hits, torch.full_like(hits, float(len(target)))])

    def value(self, sums: Tensor) -> float:
        return ratio(sums[0].item(), sums[1].item())


class CountedMetric(Metric):
    """Base of the metrics that follow from true positives, predicted and actual counts of each class or label."""

    counts = True
    tasks = ("classification", "multi_label")
    higher_is_better = True
    average: Literal["macro", "micro"] = "macro"
    """Mean over the classes (macro), or of the counts of all together (micro)."""

    @property
    def key(self) -> str:
        return self.type if self.average == "macro" else f"micro_{self.type}"

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        if target.ndim > 1:
            guess, truth = prediction >= THRESHOLD, target >= THRESHOLD
            return torch.cat([(guess & truth).sum(0), guess.sum(0), truth.sum(0)]).double()
        classes = prediction.shape[1]
        best = prediction.argmax(dim=1)
        hits = torch.bincount(target[best == target], minlength=classes)
        counts = [hits, torch.bincount(best, minlength=classes), torch.bincount(target, minlength=classes)]
        return torch.cat(counts).double()

    def of_class(self, hits: Tensor, guessed: Tensor, actual: Tensor) -> Tensor:
        """Return the value of each class, [classes]."""
        raise NotImplementedError

    def value(self, sums: Tensor) -> float:
        hits, guessed, actual = sums.view(3, -1)
        if self.average == "micro":
            return float(self.of_class(hits.sum(), guessed.sum(), actual.sum()))
        seen = (guessed + actual) > 0
        return float(self.of_class(hits, guessed, actual)[seen].mean())


class Precision(CountedMetric):
    """Share of the rows given a class or label that are of it."""

    type: Literal["precision"] = "precision"

    def of_class(self, hits: Tensor, guessed: Tensor, actual: Tensor) -> Tensor:
        return hits / guessed.clamp_min(1)


class Recall(CountedMetric):
    """Share of the rows of a class or label that are found."""

    type: Literal["recall"] = "recall"

    def of_class(self, hits: Tensor, guessed: Tensor, actual: Tensor) -> Tensor:
        return hits / actual.clamp_min(1)


class F1(CountedMetric):
    """Harmonic mean of precision and recall."""

    type: Literal["f1"] = "f1"

    def of_class(self, hits: Tensor, guessed: Tensor, actual: Tensor) -> Tensor:
        return 2 * hits / (guessed + actual).clamp_min(1)


class ConfusionMatrix(Metric):
    """How many rows of each class (lines) are given each class (columns), in the order of the model's classes.

    It is no curve: it is among the final metrics of the model and of checkpoints.
    """

    type: Literal["confusion_matrix"] = "confusion_matrix"
    counts = True
    tasks = ("classification",)
    higher_is_better = True
    scalar = False

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        classes = prediction.shape[1]
        return torch.bincount(target * classes + prediction.argmax(dim=1), minlength=classes**2).double()

    def value(self, sums: Tensor) -> list[list[int]]:
        classes = round(len(sums) ** 0.5)
        counts: list[list[int]] = sums.view(classes, classes).long().tolist()
        return counts
