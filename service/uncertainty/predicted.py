"""Quantiles that the network itself predicts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from service.blocks.distribution_losses import Quantile
from service.blocks.losses import Loss
from service.uncertainty.samples import Link


@dataclass
class PredictedQuantiles:
    """Adds up the quantiles of all samples."""

    loss: Quantile
    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    @classmethod
    def of(cls, loss: Loss) -> Self | None:
        """Return what adds up the quantiles of a loss; None where it has none."""
        return cls(loss) if isinstance(loss, Quantile) else None

    @property
    def keys(self) -> list[str]:
        """The levels as keys of an object."""
        return [str(level) for level in self.loss.levels]

    def passing(self, outputs: Iterable[Tensor]) -> Iterator[Tensor]:
        """Give samples of outputs on, taking each in."""
        for part in outputs:
            self.add(part)
            yield part

    def add(self, outputs: Tensor) -> None:
        """Take in network outputs, [S, R, outputs]."""
        self.total = self.total + self.loss.quantiles(outputs.double()).sum(0).cpu()
        self.count += outputs.shape[0]

    def result(self, decode: Link) -> Tensor:
        """Return their means over the samples in the target's own units, [R, levels, columns]."""
        return decode((self.total / self.count).movedim(-1, -2))
