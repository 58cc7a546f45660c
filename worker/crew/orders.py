"""What an owner tells its helpers, a line of JSON each."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson
import torch
from torch import Tensor

from service.blocks.schedules import Horizon
from service.spec import JobSpec
from worker.training.precision import Number

if TYPE_CHECKING:
    from worker.data import TrainingData  # it imports a store and readers of files, and a helper needs neither


@dataclass(frozen=True)
class Work:
    """A network to compute with; weights come with the first pass."""

    spec: dict[str, Any]
    input_shape: tuple[int, ...]
    outputs: int
    vocabulary: int | None
    steps_per_epoch: int
    total_steps: int
    rows_of_batch: int
    number: Number
    threads: int

    @classmethod
    def of(
        cls, spec: JobSpec, data: "TrainingData", horizon: Horizon, rows_of_batch: int, number: Number = "float32"
    ) -> "Work":
        """Return the work of a job; helpers use as many threads as this process."""
        return cls(
            spec=spec.canonical(),
            input_shape=data.input_shape,
            outputs=data.outputs,
            vocabulary=data.vocabulary,
            steps_per_epoch=horizon.steps_per_epoch,
            total_steps=horizon.total_steps,
            rows_of_batch=rows_of_batch,
            number=number,
            threads=torch.get_num_threads(),
        )


@dataclass(frozen=True)
class Turn:
    """A pass: whose noise it has, how many rows, which of them tensors follow.

    `share` is how much the pass counts in its step. `tensors` are the shapes behind the rows, and the types, of what
    the rows consist of. `everything`: all weights and statistics come with it, not only those that learn.
    """

    step: int
    part: int
    share: float
    rows: int
    everything: bool
    tensors: Sequence[tuple[Sequence[int], str]]


Order = Work | Turn
_KINDS: dict[str, type[Work] | type[Turn]] = {"work": Work, "turn": Turn}


def written(order: Order) -> bytes:
    """Return an order as a line."""
    return orjson.dumps({"order": type(order).__name__.lower(), **asdict(order)}) + b"\n"


def read(line: bytes) -> Order:
    """Return the order that a line holds."""
    value = orjson.loads(line)
    return _KINDS[value.pop("order")](**value)


def described(tensors: Sequence[Tensor]) -> list[tuple[list[int], str]]:
    """Return the shapes behind the rows, and the types, of tensors."""
    return [(list(tensor.shape[1:]), str(tensor.dtype).removeprefix("torch.")) for tensor in tensors]


def dtype_of(name: str) -> torch.dtype:
    """Return a type by its name."""
    found: torch.dtype = getattr(torch, name)
    return found
