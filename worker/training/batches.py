"""The training rows of an epoch, in its order, a step at a time."""

from collections.abc import Iterator

from torch import Tensor

from service.randomness import permutation
from service.spec import TrainingSpec
from worker.rows import Batch, TrainingData


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
        train = self._data.train
        return train[permutation(len(train), self._seed, "order", epoch)[: self._rows].to(train.device)]

    def of(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the steps of an epoch from number `first` on."""
        yield from self._data.pieces(self.index(epoch), self.rows_of_step, first)
