"""Metrics: sums that add up over batches on the device, and the number they come to.

Regression metrics see predictions and targets in the target's own units. Sums of several columns are
added up, so a metric of several targets is that of all their values together.
"""

import math
from typing import Annotated, Any, ClassVar

from torch import Tensor

from service.blocks.base import Block, OneOf
from service.blocks.losses import Task


class Metric(Block):
    """A number that says how good predictions are."""

    family = "metric"
    tasks: ClassVar[tuple[Task, ...]]
    higher_is_better: ClassVar[bool] = False
    scalar: ClassVar[bool] = True
    """True when the value is one number, which has a curve and may be watched."""
    counts: ClassVar[bool] = False
    """True when the sums are numbers of rows, found by comparing: the same bits, however rows are put together."""

    @property
    def key(self) -> str:
        """Name under which values are stored."""
        return self.type

    def sums(self, prediction: Tensor, target: Tensor, variance: Tensor | None = None) -> Tensor:
        """Return what adds up over batches, float64 [k], on the device.

        Shape: `prediction` is what `Loss.link` gives, probabilities [batch, classes] or [batch, labels] or values
        [batch, columns]; `target` int64 [batch] or float [batch, labels or columns]; `variance`, of the same shape as
        `prediction`, what `Loss.variance` gives.
        """
        raise NotImplementedError

    def value(self, sums: Tensor) -> Any:
        """Return the metric from the added-up sums, NaN where it is not defined."""
        raise NotImplementedError


def ratio(over: float, under: float) -> float:
    """Return the quotient, NaN where there is nothing to divide by."""
    return over / under if under else math.nan


DEFAULT_METRICS: dict[Task, list[str]] = {
    "classification": ["accuracy"],
    "multi_label": ["accuracy", "f1"],
    "regression": ["rmse", "mae", "r2"],
}
"""What is measured when a spec names no metrics."""

AnyMetric = Annotated[Metric, OneOf()]
