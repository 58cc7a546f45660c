"""Loss and metrics of several jobs, added up over batches.

Shape letters: K jobs, R rows, O outputs, S sums of a metric.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from service.blocks.losses import Loss
from service.blocks.metrics import Metric
from worker.training.recorded import Recorded
from worker.training.tally import Units

ROWS_AT_ONCE = 4096
"""Rows of each job from which on it is worth it to count."""


class PackedMeasure:
    """`Measure` of several jobs: loss, metrics, and the units that values are in."""

    def __init__(self, loss: Loss, metrics: Sequence[Metric], units: Units | None, records: bool) -> None:
        self.loss, self.units, self.metrics = loss, units, list(metrics)
        self.counting = [metric for metric in metrics if metric.counts]
        self.summing = [metric for metric in metrics if not metric.counts]
        held = [] if units is None else [units.scale, units.shift]
        said = loss.model_dump_json(), *(metric.model_dump_json() for metric in self.summing)
        self._add = Recorded(self._added, held, ("packed metrics", said, units is None), records=records)
        self._by_turns: set[str] = set()

    def added(self, output: Tensor, target: Tensor, known: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums [K, S] of the metrics that do not count, over a batch, added to those that are known."""
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

    def counted(self, prediction: Tensor, target: Tensor) -> list[Tensor]:
        """Return the sums [K, S] of the metrics that count, over some rows."""
        return [_each(metric, prediction, target, None) for metric in self.counting]

    def _sums(self, metric: Metric, prediction: Tensor, target: Tensor, variance: Tensor | None) -> Tensor:
        """Return the sums of all jobs at once; one after the other where the metric looks at values on its way."""
        if metric.key not in self._by_turns:
            try:
                return torch.vmap(metric.sums)(*_given(prediction, target, variance))
            except RuntimeError:
                self._by_turns.add(metric.key)
        return _each(metric, prediction, target, variance)


def _each(metric: Metric, prediction: Tensor, target: Tensor, variance: Tensor | None) -> Tensor:
    rows = zip(*_given(prediction, target, variance), strict=True)
    return torch.stack([metric.sums(*own) for own in rows])


def _given(prediction: Tensor, target: Tensor, variance: Tensor | None) -> tuple[Tensor, ...]:
    return (prediction, target) if variance is None else (prediction, target, variance)


@dataclass
class PackedTally:
    """`Tally` of several jobs: the same to the bit wherever a run was broken off."""

    measure: PackedMeasure
    jobs: int
    device: torch.device
    rows: int = 0
    """Of each job."""
    counts: list[Tensor] = field(default_factory=list)
    """Of every metric that counts, [K, S]; none before the first batch."""
    sums: list[Tensor] = field(default_factory=list)
    """Of every other metric."""
    waiting: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Predictions and targets that are not counted yet."""

    def __post_init__(self) -> None:
        self.loss_sums = torch.zeros(self.jobs, dtype=torch.float64)

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add the metrics of a batch, [K, R, O] and [K, R, ...]; its losses come separately (`add_losses`)."""
        if self.measure.summing:
            self.sums = self.measure.added(output, target, self.sums)
        if self.measure.counting:
            self.waiting.append((self.measure.loss.link(output), target))
            if len(self.waiting) * target.shape[1] >= ROWS_AT_ONCE:
                self._count()

    def add_losses(self, means: Tensor, rows: int) -> None:
        """Add the mean losses [K], float64 on the CPU, of a batch of so many rows."""
        self.loss_sums += means * rows
        self.rows += rows

    def values(self) -> list[dict[str, Any]]:
        """Return for each job the mean loss and every metric by name."""
        losses = (self.loss_sums / self.rows).tolist() if self.rows else [float("nan")] * self.jobs
        sums = {key: values.cpu() for key, values in self._by_name().items()}
        found = []
        for place, loss in enumerate(losses):
            own = {m.key: m.value(sums[m.key][place]) for m in self.measure.metrics if sums}
            found.append({"loss": loss, **own})
        return found

    def state(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        # NaN is no JSON; a job that came to it is no longer looked at.
        sums = {name: values.nan_to_num().tolist() for name, values in self._by_name().items()}
        return {"rows": self.rows, "losses": self.loss_sums.nan_to_num().tolist(), "sums": sums}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.rows = state["rows"]
        self.loss_sums = torch.tensor(state["losses"], dtype=torch.float64)
        known = {name: torch.tensor(v, dtype=torch.float64, device=self.device) for name, v in state["sums"].items()}
        self.counts = [known[metric.key] for metric in self.measure.counting if known]
        self.sums = [known[metric.key] for metric in self.measure.summing if known]

    def _by_name(self) -> dict[str, Tensor]:
        self._count()
        metrics = [*self.measure.counting, *self.measure.summing]
        return {metric.key: sums for metric, sums in zip(metrics, [*self.counts, *self.sums], strict=False)}

    def _count(self) -> None:
        if not self.waiting:
            return
        predictions, targets = (torch.cat(parts, dim=1) for parts in zip(*self.waiting, strict=True))
        self.waiting = []
        fresh = self.measure.counted(predictions, targets)
        self.counts = [a + b for a, b in zip(self.counts, fresh, strict=True)] if self.counts else fresh
