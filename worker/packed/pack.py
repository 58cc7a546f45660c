"""Several jobs that take every step at the same time: what a loop asks of them.

Shape letters: K jobs, R rows, O outputs.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor

from service.network import Network
from worker.packed.variants import Variants
from worker.rows import Batch
from worker.training.checkpoints import Tensors
from worker.training.epochs import Engine
from worker.training.trained import Arithmetic

Saved = tuple[Tensors, dict[str, Any]]
"""What a checkpoint keeps of a pack: tensors on the CPU, and JSON values."""
Start = Callable[[Network], object]
"""Gives a network, in place, what its weights start from besides chance."""


class Predicts(Protocol):
    """Jobs that can be measured."""

    @property
    def variants(self) -> Variants:
        """The jobs, in the order in which they are stacked."""

    def outputs(self, x: Tensor, shared: bool) -> Tensor:
        """Return the outputs in prediction mode, [K, R, O]; `shared`: all jobs see the same rows, [R, ...]."""


class Pack(Predicts, Engine, Protocol):
    """Jobs in the middle of their training."""

    reductions: list[float]
    """Factors on the learning rates besides the schedule's: what a plateau has left of them."""

    @property
    def has_batch_norm(self) -> bool:
        """Whether batches of one row have no variance."""

    @property
    def arithmetic(self) -> Arithmetic:
        """How the steps computed."""

    def learning_rates(self, step: int) -> list[float]:
        """Return the rate of each job at a step."""

    def __call__(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Step on rows [K, R, ...]; return the mean losses [K] without penalties, and the outputs [K, R, O]."""

    def averaged(self) -> AbstractContextManager[None]:
        """Predict with the averages of the weights, where there are such, inside the block."""

    def weights(self, place: int) -> Tensors:
        """Return what a job predicts with, by name: where there are averages, those."""

    def save(self) -> Saved:
        """Return everything that a checkpoint keeps."""

    def restore(self, saved: Saved) -> None:
        """Go on from what `save` returned."""

    @staticmethod
    def take(saved: Saved, places: Sequence[int]) -> Saved:
        """Return of what `save` returned that of the jobs at some places."""
