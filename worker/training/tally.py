"""Adding up what is measured over batches: the loss and the metrics, on the device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from service.blocks.losses import Loss
from service.blocks.metrics import Metric
from worker.training.recorded import Recorded


@dataclass(frozen=True)
class Units:
    """How outputs become values in the target's own units: value = output * scale + shift."""

    scale: Tensor
    shift: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """Return values [batch, columns] in the target's own units."""
        return values * self.scale + self.shift


class Measure:
    """Loss and metrics of a job, and the units that its values are in."""

    def __init__(self, loss: Loss, metrics: Sequence[Metric], units: Units | None, records: bool) -> None:
        self.loss, self.metrics, self.units = loss, metrics, units
        held = [] if units is None else [units.scale, units.shift]
        said = loss.model_dump_json(), *(metric.model_dump_json() for metric in metrics)
        self._recorded = Recorded(self._add, held, ("metrics", said, units is None), records=records)

    @property
    def replays(self) -> bool:
        """True when batches like those so far are replayed."""
        return self._recorded.replays

    def sums(self, output: Tensor, target: Tensor, known: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums of every metric over a batch, added to those that are known, if any."""
        if torch.is_inference_mode_enabled():
            return list(self._add(output, target, *known))
        return list(self._recorded((len(target), len(known)), output, target, *known))  # type: ignore[arg-type]

    def _add(self, output: Tensor, target: Tensor, *known: Tensor) -> list[Tensor]:
        prediction, variance = self.loss.link(output), self.loss.variance(output)
        if self.units is not None:
            prediction, target = self.units(prediction), self.units(target)
            variance = None if variance is None else variance * self.units.scale.square()
        fresh = [metric.sums(prediction, target, variance) for metric in self.metrics]
        return [a + b for a, b in zip(known, fresh, strict=True)] if known else fresh


@dataclass
class Tally:
    """Running sums over rows. Batches are added one by one in their order, so that a resumed sum has the same bits."""

    measure: Measure
    rows: int = 0
    loss_sum: float = 0.0
    sums: list[Tensor] = field(default_factory=list)
    """Of every metric, in their order; none before the first batch."""

    @torch.no_grad()
    def add(self, output: Tensor, target: Tensor) -> None:
        """Add the metrics of a batch; its loss comes separately (`add_loss`)."""
        self.sums = self.measure.sums(output, target, self.sums)

    def add_loss(self, mean: float, rows: int) -> None:
        """Add the mean loss of a batch of so many rows."""
        self.loss_sum += mean * rows
        self.rows += rows

    def values(self) -> dict[str, Any]:
        """Return the mean loss and every metric by name."""
        found: dict[str, Any] = {"loss": self.loss_sum / self.rows if self.rows else float("nan")}
        for metric, sums in zip(self.measure.metrics, self.sums, strict=False):
            found[metric.key] = metric.value(sums.cpu())
        return found

    def state(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        by_name = zip(self.measure.metrics, self.sums, strict=False)
        sums = {metric.key: values.tolist() for metric, values in by_name}
        return {"rows": self.rows, "loss": self.loss_sum, "sums": sums}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from `state`."""
        self.rows, self.loss_sum = state["rows"], state["loss"]
        known = (state["sums"].get(metric.key) for metric in self.measure.metrics)
        self.sums = [torch.tensor(v, dtype=torch.float64, device=device) for v in known if v is not None]
