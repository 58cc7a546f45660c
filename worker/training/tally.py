"""Adding up what is measured over batches: the loss and the metrics, on the device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from service.blocks.losses import Loss
from service.blocks.metrics import Metric


@dataclass(frozen=True)
class Units:
    """How outputs become values in the target's own units: value = output * scale + shift."""

    scale: Tensor
    shift: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """Return values [batch, columns] in the target's own units."""
        return values * self.scale + self.shift


@dataclass
class Tally:
    """Running sums over rows. Batches are added one by one in their order, so that a resumed sum has the same bits."""

    loss: Loss
    metrics: Sequence[Metric]
    units: Units | None
    rows: int = 0
    loss_sum: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def add(self, output: Tensor, target: Tensor) -> None:
        """Add the metrics of a batch; its loss comes separately (`add_loss`)."""
        prediction, variance = self.loss.link(output), self.loss.variance(output)
        if self.units is not None:
            prediction, target = self.units(prediction), self.units(target)
            variance = None if variance is None else variance * self.units.scale.square()
        for metric in self.metrics:
            fresh = metric.sums(prediction, target, variance)
            known = self.sums.get(metric.key)
            self.sums[metric.key] = fresh if known is None else known + fresh

    def add_loss(self, mean: float, rows: int) -> None:
        """Add the mean loss of a batch of so many rows."""
        self.loss_sum += mean * rows
        self.rows += rows

    def values(self) -> dict[str, Any]:
        """Return the mean loss and every metric by name."""
        found: dict[str, Any] = {"loss": self.loss_sum / self.rows if self.rows else float("nan")}
        for metric in self.metrics:
            if metric.key in self.sums:
                found[metric.key] = metric.value(self.sums[metric.key].cpu())
        return found

    def state(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        return {"rows": self.rows, "loss": self.loss_sum, "sums": {k: v.tolist() for k, v in self.sums.items()}}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from `state`."""
        self.rows, self.loss_sum = state["rows"], state["loss"]
        self.sums = {k: torch.tensor(v, dtype=torch.float64, device=device) for k, v in state["sums"].items()}
