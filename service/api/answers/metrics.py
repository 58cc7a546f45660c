"""Answers about what was measured of a job."""

from typing import Literal, Self

from service.api.answers.base import Answer, Count, Time
from service.store import metric_tables
from service.store.metrics import ALL


class Metric(Answer):
    """One measured value."""

    name: str
    """What was measured: `loss`, a metric's name, `batch_loss`, `learning_rate`."""
    split: str
    """On which rows: `train`, `validation` or `test`."""
    epoch: Count
    """Epoch it was measured in."""
    step: Count
    """Steps done when it was measured."""
    value: float | None
    """The value, of several replicas their mean; null where it was not finite."""
    replica: Count | None
    """The replica that it is of; null: of the job as a whole."""
    low: float | None
    """Of several replicas the least of their values; else null."""
    high: float | None
    """Of several replicas the largest of their values; else null."""
    at: Time
    """When it was stored."""

    @classmethod
    def of(cls, metric: metric_tables.Metric) -> Self:
        """Return the answer for a metric's row."""
        return cls(
            name=metric.name,
            split=metric.split,
            epoch=metric.epoch,
            step=metric.step,
            value=metric.value,
            replica=None if metric.replica == ALL else metric.replica,
            low=metric.low,
            high=metric.high,
            at=metric.at,
        )


class Metrics(Answer):
    """Measured values of one job, in the order of the steps."""

    object: Literal["list"] = "list"
    """Always "list"."""
    data: list[Metric]
    """The values."""
    has_more: Literal[False] = False
    """Always false: the whole of what was asked for is here, curves thinned to `max_points`."""
