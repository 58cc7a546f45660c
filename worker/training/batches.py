"""The training rows of an epoch, in its order, a step at a time."""

from collections.abc import Iterator
from itertools import islice

from torch import Tensor

from service.randomness import permutation
from service.spec import TrainingSpec
from worker.data import Batch, TrainingData

GATHER_BYTES = 256 * 1024 * 1024
"""Data that is put into the epoch's order in one go; larger data is gathered step by step."""


class Batches:
    """How the training rows are divided into steps: a function of the seed and the epoch.

    A step has `accumulate` batches. A last batch of one row has no variance for batch norm and is left out.
    """

    def __init__(self, data: TrainingData, training: TrainingSpec, has_batch_norm: bool) -> None:
        self._data, self._seed = data, training.seed
        rows = len(data.train)
        self.rows_of_batch = training.rows_of_batch(rows)
        self.rows_of_step = self.rows_of_batch * training.accumulate
        lonely = has_batch_norm and self.rows_of_batch > 1 and rows > 1 and rows % self.rows_of_batch == 1
        self._rows = rows - lonely
        self.steps = -(-self._rows // self.rows_of_step)

    def index(self, epoch: int) -> Tensor:
        """Return the rows of an epoch, in its order."""
        order = permutation(len(self._data.train), self._seed, "order", epoch).to(self._data.x.device)
        return self._data.train[order][: self._rows]

    def of(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the steps of an epoch from number `first` on."""
        data, size, index = self._data, self.rows_of_step, self.index(epoch)
        whole = data.x[0].numel() * data.x.element_size() * len(index) <= GATHER_BYTES
        if whole:
            yield from islice(data.rows(index).split(size), first, None)
            return
        for step in range(first, self.steps):
            yield data.rows(index[step * size : (step + 1) * size])
