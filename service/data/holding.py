"""How the rows of a data set are held while a network trains on them: as float32, or as the small integers they are.

Images of bytes stay bytes until the batch: they take a quarter of the room, in memory and on the disk, and steps that
can wait are applied to the batch on its device. Everything else is float32, with every step applied.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.blocks.base import Shape
from service.blocks.preprocessing import Preprocessing
from service.blocks.statistics import PIECE
from service.data.checks import target_of
from service.data.facts import features_of
from service.data.features import Features, laid_out
from service.data.frame import Column, Frame
from service.data.profile import ColumnProfile
from service.memory import FLOAT_BYTES, DataSize
from service.spec import DataSpec, JobSpec

SMALL = ("uint8", "int8", "int16")
"""Elements that take less room than float32, which holds each of them exactly."""

CLASS_BYTES = 8
InBatch = Callable[[Tensor], Tensor]


def held_dtype(data: DataSpec, columns: Sequence[ColumnProfile]) -> np.dtype[Any]:
    """Return the type of the elements that are held of the rows of a data set with these columns."""
    return _dtype(features_of(data, columns), data.preprocessing)


def _dtype(features: Sequence[ColumnProfile], steps: Sequence[Preprocessing]) -> np.dtype[Any]:
    alone = features[0] if len(features) == 1 and features[0].type == "tensor" else None
    waits = alone is not None and alone.dtype in SMALL and all(step.waits for step in steps)
    return np.dtype(alone.dtype if alone is not None and waits else np.float32)


def size_of(spec: JobSpec, columns: Sequence[ColumnProfile], shape: Shape, rows: int) -> DataSize:
    """Return how large a data set with these columns is for a job, whose network sees rows of a shape.

    Raises:
        InvalidSpec: The target columns do not suit the loss.
    """
    numbers, target = math.prod(shape), target_of(spec, columns)
    target_bytes = CLASS_BYTES if target.classes else FLOAT_BYTES * target.columns
    row_bytes = numbers * held_dtype(spec.data, columns).itemsize + target_bytes
    return DataSize(rows, row_bytes, numbers * FLOAT_BYTES if spec.pretrain else 0)


class Holding:
    """How the rows of fitted features are held, and what makes of them what the network takes."""

    def __init__(self, features: Features) -> None:
        self._features = features
        self.dtype = _dtype(features.columns, [step for step, _ in features.steps])

    @property
    def waits(self) -> bool:
        """True when the steps are applied to batches."""
        return self.dtype != np.float32

    def check(self, columns: Sequence[ColumnProfile]) -> None:
        """See that steps which wait will give finite numbers: whatever grows does so between its ends.

        Raises:
            InvalidRows: They will not.
        """
        column = self._features.columns[0]
        known = next(each for each in columns if each.name == column.name)
        if self.waits and known.min is not None and known.max is not None:
            ends = np.stack([np.full(column.shape or (), end, self.dtype) for end in (known.min, known.max)])
            self._features.transform({column.name: Column("tensor", ends)})

    def of(self, frame: Frame) -> NDArray[Any]:
        """Return what is held of rows, [rows, *input_shape].

        Raises:
            InvalidRows: A value is unknown to a step, or not finite; paths are `rows[i].COLUMN`.
        """
        if not self.waits:
            return self._features.transform(frame)
        (column,) = laid_out(frame, [self._features.columns[0].name], self._features.layout).values()
        return np.ascontiguousarray(column.values, self.dtype)

    def in_batch(self, device: torch.device) -> InBatch:
        """Return what makes float32 of a batch of what is held, on its device: the bits of `Features.transform`."""
        if not self.waits:
            return _as_it_is
        name, rank = self._features.columns[0].name, len(self._features.input_shape) + 1
        fitted = [(step, state["columns"][name]) for step, state in self._features.steps if name in state["columns"]]
        return _Steps([step.in_batch(known, rank, device) for step, known in fitted])


class _Steps:
    def __init__(self, steps: Sequence[InBatch]) -> None:
        self._steps = steps

    def __call__(self, x: Tensor) -> Tensor:
        # What is between the steps is float64: on a processor it stays in the cache, piece by piece.
        size = max(1, PIECE * len(x) // max(1, x.numel()))
        if x.device.type != "cpu" or len(x) <= size:
            return self._run(x)
        done = torch.empty(x.shape, dtype=torch.float32)
        for start in range(0, len(x), size):
            done[start : start + size] = self._run(x[start : start + size])
        return done

    def _run(self, x: Tensor) -> Tensor:
        for step in self._steps:
            x = step(x)
        return x.float()


def _as_it_is(x: Tensor) -> Tensor:
    return x
