"""Loss and metrics of several jobs, added up over batches.

Shape letters: K jobs, R rows, O outputs, S sums of a metric.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from service.blocks.losses import Loss
from service.blocks.metrics import Metric
from worker.training.tally import Measure, Sums, Units


class PackedMeasure(Measure):
    """`Measure` of several jobs, of outputs [K, R, O] and targets [K, R, ...]: every metric has sums [K, S]."""

    def __init__(self, loss: Loss, metrics: Sequence[Metric], units: Units | None, records: bool) -> None:
        super().__init__(loss, metrics, units, records)
        self._by_turns: set[str] = set()

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


class PackedTally(Sums[Tensor, list[dict[str, Any]]]):
    """`Sums` of several jobs."""

    axis = 1
    rows_at_once = 4096

    def __init__(self, measure: PackedMeasure, jobs: int) -> None:
        super().__init__(measure, torch.zeros(jobs, dtype=torch.float64))

    def values(self) -> list[dict[str, Any]]:
        """Return for each job the mean loss and every metric by name."""
        losses = self.loss_sum / self.rows if self.rows else torch.full_like(self.loss_sum, torch.nan)
        sums = {key: values.cpu() for key, values in self._by_name().items()}
        found = []
        for place, loss in enumerate(losses.tolist()):
            own = {m.key: m.value(sums[m.key][place]) for m in self.measure.metrics if sums}
            found.append({"loss": loss, **own})
        return found

    def state(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        # NaN is no JSON; a job that came to it is no longer looked at.
        sums = {name: values.nan_to_num().tolist() for name, values in self._by_name().items()}
        return {"rows": self.rows, "losses": self.loss_sum.nan_to_num().tolist(), "sums": sums}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from `state`."""
        super().restore(state, device)
        self.loss_sum = torch.tensor(state["losses"], dtype=torch.float64)
