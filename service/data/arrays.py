"""Arrays in a stream of bytes, the first axis being the rows: profiled block by block, read as columns."""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.data import text
from service.data.collector import Collector
from service.data.frame import Column
from service.data.profile import ColumnProfile
from service.data.tensors import TensorCollector

BLOCK = 4 << 20


@dataclass(frozen=True)
class Array:
    """What the header of one array says."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    by_columns: bool = False

    @property
    def is_scalar(self) -> bool:
        """True when a row is one value: [rows] or [rows, 1]."""
        return math.prod(self.shape[1:]) == 1 and len(self.shape) <= 2

    @property
    def items(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.items * self.dtype.itemsize


def collector_of(array: Array) -> Collector | TensorCollector:
    """Return what collects the profile of such an array."""
    if array.is_scalar:
        return Collector(array.name, written=False)
    return TensorCollector(array.name, array.shape[1:], array.dtype.newbyteorder("=").name)


def collect(array: Array, stream: IO[bytes], collector: Collector | TensorCollector) -> None:
    """Take in a whole array.

    Raises:
        ValueError: The stream ends too early.
    """
    for block in _blocks(array, stream):
        if isinstance(collector, Collector):
            collector.add(_series(block))
        else:
            collector.add(block)


def column(array: Array, stream: IO[bytes], profile: ColumnProfile, rows: int | None) -> Column:
    """Return the first `rows` rows of an array as the column that its profile describes.

    Raises:
        ValueError: The stream ends too early.
    """
    return _as_column(_values(array, stream, rows), profile)


def _as_column(values: NDArray[np.generic], profile: ColumnProfile) -> Column:
    if profile.type == "tensor":
        return Column("tensor", values)
    return text.column_of(_series(values.ravel()), profile)


def columns(array: Array, stream: IO[bytes], profile: ColumnProfile, rows: int) -> Iterator[Column]:
    """Yield an array as the column that its profile describes, some rows at a time.

    One that is stored column by column lies in a temporary file meanwhile: its first row ends where the file does.

    Raises:
        ValueError: The stream ends too early.
    """
    if array.by_columns:
        with tempfile.TemporaryFile() as file:
            for block in _blocks(array, stream):
                file.write(block.data)
            file.flush()
            whole = np.memmap(file, array.dtype, "r", shape=array.shape, order="F")
            for start in range(0, array.shape[0], rows):
                native = whole[start : start + rows].astype(array.dtype.newbyteorder("="), order="C")
                yield _as_column(np.asarray(native), profile)
        return
    for start in range(0, array.shape[0], rows):
        left = replace(array, shape=(array.shape[0] - start, *array.shape[1:]))
        yield column(left, stream, profile, rows)


def _blocks(array: Array, stream: IO[bytes], items: int | None = None) -> Iterator[NDArray[np.generic]]:
    """Read the items of an array in the order of the file, some MiB at a time."""
    left = array.items if items is None else items
    if array.dtype.itemsize == 0:
        raise ValueError("its text has no characters")
    while left:
        size = min(left, max(1, BLOCK // array.dtype.itemsize))
        data = stream.read(size * array.dtype.itemsize)
        if len(data) != size * array.dtype.itemsize:
            raise ValueError("it ends too early")
        yield np.frombuffer(data, array.dtype)
        left -= size


def _series(values: NDArray[np.generic]) -> pl.Series:
    """Return scalars as text, booleans or numbers that a collector takes."""
    if values.dtype.kind == "S":
        values = np.char.decode(values.astype(np.bytes_), "utf-8")
    if values.dtype.kind == "U":
        return pl.Series(values.tolist(), dtype=pl.String)
    if values.dtype.kind == "f":
        return pl.Series(values.astype(np.float64))
    return pl.Series(values.astype(values.dtype.newbyteorder("=")))


def _values(array: Array, stream: IO[bytes], rows: int | None) -> NDArray[np.generic]:
    """Return the first `rows` rows; an array stored column by column has to be read whole."""
    count = array.shape[0] if rows is None else min(rows, array.shape[0])
    partly = None if array.by_columns else count * math.prod(array.shape[1:])
    items = np.concatenate(list(_blocks(array, stream, partly)))
    items = items.astype(items.dtype.newbyteorder("="), copy=False)
    if array.by_columns:
        return np.ascontiguousarray(items.reshape(array.shape, order="F")[:count])
    return items.reshape(count, *array.shape[1:])
