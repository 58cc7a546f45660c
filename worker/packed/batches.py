"""The training rows of an epoch of several jobs, each in its own order, a step at a time.

Shape letters: K jobs, N rows of an epoch, R rows of a step.
"""

from collections.abc import Iterator

import torch

from worker.packed.variants import Variants
from worker.rows import Batch
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
        if self._variants.shares_rows:
            yield from self._of_shared_rows(epoch, first)
            return
        for batches in zip(*(own.of(epoch, first) for own in self._of_each), strict=True):
            yield Batch(*map(torch.stack, zip(*(batch.parts() for batch in batches), strict=True)))

    def _of_shared_rows(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yield steps whose rows are all of one data set, in which they are looked up together."""
        jobs = len(self._variants)
        index = torch.stack([batches.index(epoch) for batches in self._of_each])
        # Step by step, in each of them job by job.
        order = torch.cat([part.flatten() for part in torch.split(index, self._rows_of_step, dim=1)])
        for batch in self._variants.members[0].data.pieces(order, jobs * self._rows_of_step, first):
            yield Batch(*(part.reshape(jobs, -1, *part.shape[1:]) for part in batch.parts()))
