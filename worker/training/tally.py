"""Adding up what is measured over batches: the loss and the metrics, on the device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from service.blocks.losses import Loss
from service.blocks.metrics import Metric
from service.data.target import TargetCodec
from worker.training.recorded import Recorded

Mean = TypeVar("Mean", float, Tensor)
"""Mean loss of a batch: a number, or one for each network, [K] in float64 on the CPU."""
Values = TypeVar("Values")
"""Loss and metrics by name, or those of each network."""


@dataclass(frozen=True)
class Units:
    """How outputs become values in the target's own units: value = output * scale + shift."""

    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, target: TargetCodec, device: torch.device) -> "Units | None":
        """Return those of a target of numbers, None for classes and labels."""
        if target.classes is not None:
            return None
        scale, shift = (torch.tensor(values, dtype=torch.float64) for values in (target.scale, target.shift))
        return cls(scale.to(device), shift.to(device))

    def __call__(self, values: Tensor) -> Tensor:
        """Return values [batch, columns] in the target's own units."""
        return values * self.scale + self.shift


class Measure:
    """Loss and metrics of a job, and the units that its values are in."""

    def __init__(self, loss: Loss, metrics: Sequence[Metric], units: Units | None, records: bool) -> None:
        self.loss, self.units = loss, units
        self.metrics = list(metrics)
        self.counting = [metric for metric in metrics if metric.counts]
        self.summing = [metric for metric in metrics if not metric.counts]
        held = [] if units is None else [units.scale, units.shift]
        said = loss.model_dump_json(), *(metric.model_dump_json() for metric in self.summing)
        self._add = Recorded(self._added, held, (type(self).__name__, said, units is None), records=records)

    @property
    def replays(self) -> bool:
        """True when sums over batches like those so far are replayed."""
        return self._add.replays

    def counted(self, prediction: Tensor, target: Tensor) -> list[Tensor]:
        """Return the sums of the metrics that count, over some rows; all of them compare predictions of classes."""
        return [metric.sums(prediction, target) for metric in self.counting]

    def added(self, output: Tensor, target: Tensor, known: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums of the other metrics over a batch, added to those that are known, if any."""
        if torch.is_inference_mode_enabled():
            return self._added(output, target, *known)
        key = (target.shape, len(known))
        return [sums for sums in self._add(key, output, target, *known) if sums is not None]

    def _added(self, output: Tensor, target: Tensor, *known: Tensor) -> list[Tensor]:
        prediction, variance = self.loss.link(output), self.loss.variance(output)
        if self.units is not None:
            prediction, target = self.units(prediction), self.units(target)
            variance = None if variance is None else variance * self.units.scale.square()
        fresh = [self._sums(metric, prediction, target, variance) for metric in self.summing]
        return [a + b for a, b in zip(known, fresh, strict=True)] if known else fresh

    def _sums(self, metric: Metric, prediction: Tensor, target: Tensor, variance: Tensor | None) -> Tensor:
        return metric.sums(prediction, target, variance)


@dataclass
class Sums(Generic[Mean, Values]):
    """Running sums over rows, of one network or of several, the same to the bit wherever a run was broken off.

    What counts is put off until there are rows enough to be worth it; all else is added batch by batch, in their order.
    """

    axis: ClassVar[int]
    """Of the rows in a batch."""
    rows_at_once: ClassVar[int]
    """Rows of a network from which on it is worth it to count."""
    measure: Measure
    loss_sum: Mean
    rows: int = 0
    """Of each network."""
    counts: list[Tensor] = field(default_factory=list)
    """Of every metric that counts, in their order; none before the first batch."""
    sums: list[Tensor] = field(default_factory=list)
    """Of every other metric."""
    waiting: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Predictions and targets that are not counted yet."""

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add the metrics of a batch; its loss comes separately (`add_loss`)."""
        if self.measure.summing:
            self.sums = self.measure.added(output, target, self.sums)
        if self.measure.counting:
            # Predictions batch by batch, too: an exponential may end in another bit elsewhere in a tensor.
            self.waiting.append((self.measure.loss.link(output), target))
            if len(self.waiting) * target.shape[self.axis] >= self.rows_at_once:
                self._count()

    def add_loss(self, mean: Mean, rows: int) -> None:
        """Add the mean loss of a batch of so many rows."""
        self.loss_sum += mean * rows
        self.rows += rows

    def values(self) -> Values:
        """Return the mean loss and every metric by name, of each network."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        raise NotImplementedError

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from `state`."""
        self.rows = state["rows"]
        known = {name: torch.tensor(v, dtype=torch.float64, device=device) for name, v in state["sums"].items()}
        self.counts = [known[metric.key] for metric in self.measure.counting if known]
        self.sums = [known[metric.key] for metric in self.measure.summing if known]

    def _by_name(self) -> dict[str, Tensor]:
        self._count()
        metrics = [*self.measure.counting, *self.measure.summing]
        return {metric.key: sums for metric, sums in zip(metrics, [*self.counts, *self.sums], strict=False)}

    def _count(self) -> None:
        if not self.waiting:
            return
        predictions, targets = (torch.cat(parts, dim=self.axis) for parts in zip(*self.waiting, strict=True))
        self.waiting = []
        fresh = self.measure.counted(predictions, targets)
        self.counts = [a + b for a, b in zip(self.counts, fresh, strict=True)] if self.counts else fresh


@dataclass
class Tally(Sums[float, dict[str, Any]]):
    """`Sums` of one network."""

    axis = 0
    rows_at_once = 1024
    loss_sum: float = 0.0

    def values(self) -> dict[str, Any]:
        """Return the mean loss and every metric by name."""
        found: dict[str, Any] = {"loss": self.loss_sum / self.rows if self.rows else float("nan")}
        sums = self._by_name()
        return found | {metric.key: metric.value(sums[metric.key].cpu()) for metric in self.measure.metrics if sums}

    def state(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        sums = {name: values.tolist() for name, values in self._by_name().items()}
        return {"rows": self.rows, "loss": self.loss_sum, "sums": sums}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from `state`."""
        super().restore(state, device)
        self.loss_sum = state["loss"]
