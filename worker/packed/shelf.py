"""The weights of jobs that are put aside: those of the best epoch, and of jobs that have ended.

Shape letter: K jobs.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from worker.training.checkpoints import Tensors, cpu, part

KEPT = "kept/"


class Shelf:
    """Weights by job; a checkpoint has them as [K, ...], zeros where a job has none yet."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._stacked: dict[str, Tensor] = {}

    def put(self, place: int, weights: Mapping[str, Tensor]) -> None:
        """Put the weights of a job aside."""
        for name, value in weights.items():
            if name not in self._stacked:
                self._stacked[name] = value.new_zeros(self._jobs, *value.shape)
            self._stacked[name][place].copy_(value.detach())

    def of(self, places: Sequence[int]) -> dict[str, Tensor]:
        """Return the weights of some jobs, stacked in this order, by name."""
        return {name: value[list(places)] for name, value in self._stacked.items()}

    def tensors(self) -> Tensors:
        """Return what a checkpoint keeps, on the CPU."""
        return cpu({f"{KEPT}{name}": value for name, value in self._stacked.items()})

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Go on from `tensors`."""
        self._stacked = {name: value.to(device) for name, value in part(tensors, KEPT).items()}
