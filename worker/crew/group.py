"""Tensors between the processes of a crew: NCCL between GPUs, gloo over the loopback between processors."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import FileStore, Store

PATIENCE = timedelta(days=1)
"""How long a process waits for another one; what dies is noticed at once, and a long step is no death."""


class Parted(Exception):
    """Another process of the crew is gone."""


class Group:
    """The processes of a crew, once all have met; number 0 is the owner. Every call is made by all of them alike.

    What is added up is added in an order that follows from the number of processes and of values alone.

    Raises:
        Parted: Any call, when another process is gone.
    """

    def __init__(self, meeting: Path, rank: int, size: int, device: torch.device) -> None:
        """Wait for the others at `meeting`, a file in a folder of this crew."""
        self.rank, self.size, self.device = rank, size, device
        store = FileStore(str(meeting), size)
        # What torch's own stubs say of backends is not all there is.
        self._backend: Any = _nccl(store, rank, size, device) if device.type == "cuda" else _gloo(store, rank, size)

    def spread(self, values: Tensor) -> None:
        """Give everybody the owner's values, in place."""
        _done(self._backend.broadcast([values]))

    def total(self, values: Tensor) -> None:
        """Give the owner, in place, the sums of everybody's values; those of the others are lost."""
        _done(self._backend.reduce([values]))

    def sums(self, values: Tensor) -> Tensor:
        """Give everybody the sums of everybody's values, in place; returns them."""
        _done(self._backend.allreduce([values]))
        return values

    def all_of(self, values: Tensor) -> Tensor:
        """Return everybody's values, [processes, *shape]."""
        found = [torch.empty_like(values) for _ in range(self.size)]
        _done(self._backend.allgather([found], [values]))
        return torch.stack(found)

    def send(self, values: Tensor, rank: int) -> None:
        """Send values, which have no gaps, to a process that calls `receive`."""
        _done(self._backend.send([values], rank, 0))

    def receive(self, shape: Sequence[int], dtype: torch.dtype, rank: int) -> Tensor:
        """Return what a process sends."""
        found = torch.empty(tuple(shape), dtype=dtype, device=self.device)
        _done(self._backend.recv([found], rank, 0))
        return found


def _gloo(store: Store, rank: int, size: int) -> Any:
    options: Any = dist.ProcessGroupGloo._Options()  # type: ignore[attr-defined]  # torch's stubs lack it
    options._timeout = PATIENCE
    options._devices = [dist.ProcessGroupGloo.create_device(hostname="127.0.0.1")]
    return dist.ProcessGroupGloo(store, rank, size, options)


def _nccl(store: Store, rank: int, size: int, device: torch.device) -> Any:
    torch.cuda.set_device(device)
    options = dist.ProcessGroupNCCL.Options()
    options._timeout = PATIENCE
    return dist.ProcessGroupNCCL(store, rank, size, options)


def _done(work: dist.Work) -> None:
    try:
        work.wait()
    except RuntimeError as error:
        raise Parted(str(error)) from error
