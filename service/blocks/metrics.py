"""Metrics: sums that add up over batches on the device, and the number they come to."""

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from service.blocks.base import Block, OneOf
from service.blocks.losses import Task


class Metric(Block):
    """A number that says how good predictions are."""

    family = "metric"
    task: ClassVar[Task]
    higher_is_better: ClassVar[bool] = False

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return what adds up over batches, float64 [k], on the device.

        Shape: `prediction` is what `Loss.link` gives, probabilities [batch, classes] or values
        [batch, columns] in the target's own units; `target` int64 [batch] or float32 [batch, columns].
        """
        raise NotImplementedError

    def value(self, sums: Tensor) -> float:
        """Return the metric from the added-up sums."""
        raise NotImplementedError


AnyMetric = Annotated[Metric, OneOf()]
