"""The training rows of an epoch of several jobs, each in its own order, a step at a time.

Shape letters: K jobs, R rows of a step.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from worker.data import Batch
from worker.packed.variants import Variants
from worker.training.batches import Batches


class PackedBatches:
    """`Batches` of every job, one below the other."""

    def __init__(self, variants: Variants, has_batch_norm: bool) -> None:
        self._variants = variants
        self._of_each = [Batches(variant.data, variant.spec.training, has_batch_norm) for variant in variants]
        self.rows_of_batch, self.steps = self._of_each[0].rows_of_batch, self._of_each[0].steps
        self._rows_of_step = self._of_each[0].rows_of_step

    def of(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the steps of an epoch from number `first` on, [K, R, ...]."""
        index = torch.stack([batches.index(epoch) for batches in self._of_each])
        for step in range(first, self.steps):
            yield self._rows(index[:, step * self._rows_of_step : (step + 1) * self._rows_of_step])

    def _rows(self, index: Tensor) -> Batch:
        """Return the rows at `index` [K, R] of each job's data."""
        if not self._variants.shares_rows:
            rows = [variant.data.rows(own).parts() for variant, own in zip(self._variants, index, strict=True)]
            return Batch(*(torch.stack(parts) for parts in zip(*rows, strict=True)))
        flat, data = index.reshape(-1), self._variants.members[0].data
        parts = (part for part in (data.x, data.y, data.weight) if part is not None)
        return Batch(*(part.index_select(0, flat).view(*index.shape, *part.shape[1:]) for part in parts))
