"""Metrics of probabilities: how well they rank, how well they are calibrated."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from service.blocks.metrics import Metric, ratio

BINS = 2048
MOST_BINS = 200_000
"""Bins of all classes together."""
LOGIT_LIMIT = 20.0
CALIBRATION_BINS = 15
LEAST = 1e-15
"""Probability below which the log-loss no longer grows, as in scikit-learn."""


def _truth(prediction: Tensor, target: Tensor) -> Tensor:
    """Return 0 and 1 for each class or label, [batch, classes]."""
    return target if target.ndim > 1 else functional.one_hot(target, prediction.shape[1])


def _bins(classes: int) -> int:
    return max(16, min(BINS, MOST_BINS // classes))


class RankingMetric(Metric):
    """Base of the metrics of how well each class's probability ranks its rows before all others, mean over classes.

    Probabilities are counted in 2,048 bins of their logit (fewer beyond 97 classes); rows in one bin count as equal.
    """

    tasks = ("classification", "multi_label")
    higher_is_better = True

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        rows, classes = prediction.shape
        bins = _bins(classes)
        logits = torch.logit(prediction.double()).clamp(-LOGIT_LIMIT, LOGIT_LIMIT).nan_to_num(0.0)
        place = ((logits + LOGIT_LIMIT) * (bins / (2 * LOGIT_LIMIT))).long().clamp_max(bins - 1)
        truth = _truth(prediction, target) > 0
        kind = torch.arange(classes, device=place.device) * 2 * bins + truth * bins
        counts = torch.bincount((place + kind).flatten(), minlength=classes * 2 * bins).double()
        return torch.cat([counts.new_tensor([rows, rows * classes]), counts])

    def value(self, sums: Tensor) -> float:
        rows, cells = sums[:2].tolist()
        classes = round(cells / rows) if rows else 1
        negative, positive = sums[2:].view(classes, 2, -1).unbind(1)
        defined = (negative.sum(1) > 0) & (positive.sum(1) > 0)
        return float(self.of_bins(negative[defined], positive[defined]).mean()) if bool(defined.any()) else math.nan

    def of_bins(self, negative: Tensor, positive: Tensor) -> Tensor:
        """Return the value of each class from its rows and the others in each bin, from the lowest probability up."""
        raise NotImplementedError


class RocAuc(RankingMetric):
    """Probability that a row of a class ranks before one of another (area under the ROC curve), one against the rest.

    Reference: Hanley and McNeil 1982, "The Meaning and Use of the Area under a ROC Curve".
    """

    type: Literal["roc_auc"] = "roc_auc"

    def of_bins(self, negative: Tensor, positive: Tensor) -> Tensor:
        below = negative.cumsum(1) - negative
        return (positive * (below + negative / 2)).sum(1) / (positive.sum(1) * negative.sum(1))


class PrAuc(RankingMetric):
    """Average precision: the mean of the precisions at every row of a class, one class against the rest.

    Reference: Davis and Goadrich 2006, "The Relationship Between Precision-Recall and ROC Curves".
    """

    type: Literal["pr_auc"] = "pr_auc"

    def of_bins(self, negative: Tensor, positive: Tensor) -> Tensor:
        found = positive.flip(1).cumsum(1)
        given = found + negative.flip(1).cumsum(1)
        return (positive.flip(1) * found / given.clamp_min(1)).sum(1) / positive.sum(1)


class LogLoss(Metric):
    """Mean of minus the log of the probability given to what is true, in nats; over labels, the mean over them."""

    type: Literal["log_loss"] = "log_loss"
    tasks = ("classification", "multi_label")

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        p = prediction.double()
        right = torch.where(target > 0, p, 1.0 - p) if target.ndim > 1 else p.gather(1, target[:, None])
        logs = -right.clamp_min(LEAST).log()
        total = logs.sum()
        return torch.stack([total, torch.full_like(total, float(logs.numel()))])

    def value(self, sums: Tensor) -> float:
        return ratio(sums[0].item(), sums[1].item())


class Brier(Metric):
    """Mean squared distance of the probabilities from the truth: sum over the classes, mean over labels, of (p - t)^2.

    Reference: Brier 1950, "Verification of Forecasts Expressed in Terms of Probability", eq. 2.
    """

    type: Literal["brier"] = "brier"
    tasks = ("classification", "multi_label")

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        away = (prediction.double() - _truth(prediction, target)).square()
        rows = away.mean(1) if target.ndim > 1 else away.sum(1)
        total = rows.sum()
        return torch.stack([total, torch.full_like(total, float(len(rows)))])

    def value(self, sums: Tensor) -> float:
        return ratio(sums[0].item(), sums[1].item())


class Ece(Metric):
    """Expected calibration error: how far the likeliest class's probability is from how often it is right.

    The mean over 15 equal bins of probability, weighted by their rows.

    Reference: Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3.
    """

    type: Literal["ece"] = "ece"
    tasks = ("classification",)

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        best = prediction.double().max(dim=1)
        # A bin has its upper end, not its lower one.
        place = (torch.ceil(best.values * CALIBRATION_BINS) - 1).long().clamp(0, CALIBRATION_BINS - 1)
        parts = (torch.ones_like(best.values), best.values, (best.indices == target).double())
        return torch.cat([torch.bincount(place, part, CALIBRATION_BINS) for part in parts])

    def value(self, sums: Tensor) -> float:
        rows, sure, right = sums.view(3, -1)
        return ratio((sure - right).abs().sum().item(), rows.sum().item())
