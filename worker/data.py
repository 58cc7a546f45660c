"""A stored data set to what a network trains on: read, prepared, ready to be gathered in batches."""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from service.data.facts import features_of
from service.data.formats import read_batches
from service.data.frame import Frame
from service.data.profile import ColumnProfile
from service.errors import InvalidSpec, Problem
from service.spec import DataSpec, JobSpec
from service.store.blobs import read_blob
from service.store.engine import Store
from service.store.tables import Dataset
from worker.preparation import InMemory, Prepared, prepared
from worker.rows import Batch, TrainingData
from worker.source import CELL_BYTES, FRAME_BYTES, MOST_ROWS, Source, of_frame

__all__ = ["Batch", "TrainingData", "columns_of", "load", "prepare", "used_columns"]

HELD_BYTES = 32 * 1024 * 1024
"""What is held of a data set in the form in which it is read; a larger one is read again for every step that learns."""
Between = Callable[[], None]
Scratch = Callable[[int], AbstractContextManager[IO[bytes]]]
"""Opens a file for so many bytes, which is gone in the end."""


def load(store: Store, dataset: Dataset, spec: JobSpec, between: Between = lambda: None) -> TrainingData:
    """Read a data set from the store into memory, prepared as the job asks; `between` is called now and then.

    Raises:
        NotFound: The bytes are no longer there.
        CorruptBlob: They fail their SHA-256.
        InvalidSpec: The rows do not fit the spec; the problem names the column.
    """
    used = used_columns(spec.data, columns_of(dataset))
    with stored(store, dataset, spec, temporary, between) as source:
        return in_memory(prepared(source, used, spec, InMemory()), used)


def columns_of(dataset: Dataset) -> list[ColumnProfile]:
    """Return the profiles of all columns."""
    return [ColumnProfile.model_validate(column) for column in dataset.columns]


def used_columns(data: DataSpec, columns: Sequence[ColumnProfile]) -> list[ColumnProfile]:
    """Return the feature columns, and behind them the target's.

    Raises:
        InvalidSpec: There is no column of such a name.
    """
    by_name = {column.name: column for column in columns}
    unknown = [name for name in (*data.targets, *(data.features or ()), *data.set_aside) if name not in by_name]
    if unknown:
        raise InvalidSpec([Problem("data", f"the data set has no column {name!r}", name) for name in unknown])
    return [*features_of(data, columns), *(by_name[name] for name in data.targets)]


def prepare(frame: Frame, columns: Sequence[ColumnProfile], spec: JobSpec) -> TrainingData:
    """Prepare rows that are in memory.

    Raises:
        InvalidSpec: The rows do not fit the spec; the problem names the column.
    """
    return in_memory(prepared(of_frame(frame), columns, spec, InMemory()), columns)


def in_memory(found: Prepared, columns: Sequence[ColumnProfile]) -> TrainingData:
    """Return prepared rows as tensors."""
    x, y, train, validation, test = map(
        torch.from_numpy, (found.x, found.y, found.parts.train, found.parts.validation, found.parts.test)
    )
    return TrainingData(
        x=x,
        y=y,
        train=train,
        validation=validation,
        test=test,
        features=found.features,
        target=found.target,
        outputs=found.outputs,
        columns=shown(columns),
        weight=None if found.weight is None else torch.from_numpy(found.weight),
    )


def shown(columns: Sequence[ColumnProfile]) -> list[dict[str, Any]]:
    """Return columns as answers show them."""
    return [column.shown().model_dump(mode="json") for column in columns]


@contextmanager
def temporary(size: int) -> Iterator[IO[bytes]]:
    """Open a temporary file."""
    with tempfile.NamedTemporaryFile(prefix="trainyard-") as file:
        yield file


@contextmanager
def stored(
    store: Store, dataset: Dataset, spec: JobSpec, scratch: Scratch, between: Between = lambda: None
) -> Iterator[Source]:
    """Open the columns that a job uses, to be read frame by frame; `between` is called between frames.

    Small data sets are read once. Of others a copy of the stored file stands in `scratch` meanwhile.
    """
    columns = columns_of(dataset)
    names = [*(column.name for column in used_columns(spec.data, columns)), *spec.data.set_aside]
    used = {column.name: column for column in columns if column.name in names}
    row_bytes = sum(map(_cell_bytes, used.values()))
    rows = max(1, min(MOST_ROWS, FRAME_BYTES // row_bytes))

    def read(source: Any, wanted: Sequence[str]) -> Iterator[Frame]:
        for frame in read_batches(source, dataset.format, columns, [used[name] for name in wanted], rows):
            between()
            yield frame

    if dataset.rows * row_bytes <= HELD_BYTES:
        frames = list(read(read_blob(store, dataset.sha256), list(used)))
        yield Source(dataset.rows, lambda wanted: ({name: frame[name] for name in wanted} for frame in frames))
        return
    with scratch(dataset.size) as file:
        for piece in read_blob(store, dataset.sha256):
            between()
            file.write(piece)
        file.truncate()
        file.flush()
        yield Source(dataset.rows, lambda wanted: read(Path(file.name), wanted))


def _cell_bytes(column: ColumnProfile) -> int:
    if column.type != "tensor":
        return CELL_BYTES
    return math.prod(column.shape or ()) * np.dtype(column.dtype or "float64").itemsize
