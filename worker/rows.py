"""What a network trains on: rows as tensors in memory, or as a file that is mapped, and batches of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from service.blocks.base import Shape
from service.data.holding import Holding, InBatch
from service.data.pipeline import Features, TargetCodec
from service.memory import WINDOW_BYTES
from worker.ahead import ahead
from worker.cache.mapped import Mapped

CPU = torch.device("cpu")

Rows = Tensor | Mapped
"""[rows, ...], on the device or in a file."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows: `x` [rows, *input], `y` [rows] or [rows, columns], `weight` [rows] what each counts in the loss.

    Rows that are mixed with others have those' targets, `y_other`, and what they count, `weight_other`, besides.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None = None
    y_other: Tensor | None = None
    weight_other: Tensor | None = None

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self.y.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> "Batch":
        """Return some of the rows."""
        rest = (None if t is None else t[rows] for t in (self.weight, self.y_other, self.weight_other))
        return Batch(self.x[rows], self.y[rows], *rest)

    def parts(self) -> list[Tensor]:
        """Return the tensors that there are, in the order of the fields."""
        return [t for t in (self.x, self.y, self.weight, self.y_other, self.weight_other) if t is not None]

    def split(self, rows: int) -> Iterator["Batch"]:
        """Yield all of it in pieces of so many rows, the last one of those that are left."""
        return (Batch(*pieces) for pieces in zip(*(torch.split(part, rows) for part in self.parts()), strict=True))

    def to(self, device: torch.device) -> "Batch":
        """Return the same rows on a device, to which they are on their way."""
        rest = (None if t is None else t.to(device, non_blocking=True) for t in (self.weight,))
        return Batch(self.x.to(device, non_blocking=True), self.y.to(device, non_blocking=True), *rest)


@dataclass(frozen=True)
class TrainingData:
    """All rows as they are held, and which of them train, validate and test.

    `x` [rows, *input_shape], float32 or small integers; `y` int64 [rows] or float32 [rows, columns]; the index tensors
    int64, ascending, on the CPU where the rows are in a file. `columns` are the profiles of the features and the target
    as answers show them.
    """

    x: Rows
    y: Rows
    train: Tensor
    validation: Tensor
    test: Tensor
    features: Features
    target: TargetCodec
    outputs: int
    columns: list[dict[str, Any]]
    weight: Tensor | None = None
    """What each row counts in the loss, float32 [rows]; None: all alike."""
    device: torch.device = CPU
    """Where batches are."""
    in_batch: InBatch = field(init=False)
    """What makes float32 of the `x` of a batch."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "in_batch", Holding(self.features).in_batch(self.device))

    @property
    def input_shape(self) -> Shape:
        """Shape of a row as the network sees it."""
        return self.features.input_shape

    @property
    def vocabulary(self) -> int | None:
        """How many token ids there are, where rows hold such."""
        return self.features.vocabulary

    @property
    def streamed(self) -> bool:
        """True when the rows are in a file and not in memory."""
        return not isinstance(self.x, Tensor)

    @property
    def classes(self) -> list[Any] | None:
        """The classes, or the labels, that predictions name; None for numbers."""
        if self.target.task == "multi_label":
            return list(self.target.labels)
        return None if self.target.classes is None else list(self.target.classes)

    def rows(self, index: Tensor) -> Batch:
        """Return the rows at `index`, which are to be few enough for memory."""
        return self._ready(self._gathered(index))

    def pieces(self, index: Tensor, rows: int, first: int = 0) -> Iterator[Batch]:
        """Yield the rows at `index` so many at a time, from piece number `first` on.

        They are gathered many pieces at a time; those of a file in the background, ahead of who takes them. How they
        lie in memory depends on neither, nor on `first`: what computes with them gives the same bits.
        """
        row_bytes = max(1, self.x.itemsize * self.x[0:1].numel()) if isinstance(self.x, Tensor) else self.x.row_bytes
        size = max(1, WINDOW_BYTES // (row_bytes * rows)) * rows
        begin = first * rows // size * size
        windows = (index[start : start + size] for start in range(begin, len(index), size))
        gathered = ahead(windows, self._gathered) if self.streamed else map(self._gathered, windows)
        skipped = first - begin // rows
        for window in gathered:
            for batch in window.split(rows):
                if skipped > 0:
                    skipped -= 1
                else:
                    yield self._ready(batch)

    def _gathered(self, index: Tensor) -> Batch:
        if isinstance(self.x, Tensor) and isinstance(self.y, Tensor):
            return Batch(self.x, self.y, self.weight)[index.to(self.device)]
        weight = None if self.weight is None else self.weight[index]
        pinned = self.device.type == "cuda"
        x, y = (part[index] if isinstance(part, Tensor) else part.take(index, pinned) for part in (self.x, self.y))
        return Batch(x, y, weight)

    def _ready(self, batch: Batch) -> Batch:
        batch = batch.to(self.device) if self.streamed else batch
        return replace(batch, x=self.in_batch(batch.x))

    def to(self, device: torch.device | str) -> "TrainingData":
        """Return the same data with its tensors on the device; what is in a file stays there."""
        device = torch.device(device)
        if self.streamed:
            return replace(self, device=device)
        names = ("x", "y", "train", "validation", "test")
        weight = None if self.weight is None else self.weight.to(device)
        return replace(self, weight=weight, device=device, **{name: getattr(self, name).to(device) for name in names})

    def preprocessing(self) -> dict[str, Any]:
        """Return, as JSON values, what a model needs to read raw rows and to answer in the target's own units."""
        return {
            "features": self.features.to_json(),
            "target": self.target.to_json(),
            "input_shape": list(self.input_shape),
            "outputs": self.outputs,
        }
