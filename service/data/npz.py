"""NPZ: one array a column, the first axis being the rows; streamed out of the ZIP, never unpickled."""

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import polars as pl
from numpy.lib import format as npy
from numpy.typing import NDArray

from service.data import text
from service.data.collector import Collector
from service.data.frame import Column, Frame
from service.data.profile import ColumnProfile, Profile
from service.data.reader import Format, Limits, Reader, check_names, invalid
from service.data.table import TableCollector
from service.data.tensors import TensorCollector

BLOCK = 4 << 20
_KINDS = "biufUS"


@dataclass(frozen=True)
class _Array:
    """What the header of one array says."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    by_columns: bool

    @property
    def is_scalar(self) -> bool:
        """True when a row is one value: [rows] or [rows, 1]."""
        return math.prod(self.shape[1:]) == 1 and len(self.shape) <= 2

    @property
    def items(self) -> int:
        return math.prod(self.shape)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn what goes wrong inside a broken archive into an answer."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError, OSError) as error:
        raise invalid(f"{what} cannot be read: {error}", allowed="an NPZ file as numpy.savez writes it") from error


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [name for name in archive.namelist() if not name.endswith("/")]


@contextmanager
def _opened(archive: zipfile.ZipFile, member: str) -> Iterator[tuple[_Array, IO[bytes]]]:
    """Open one array of the archive behind its header."""
    name = member.removesuffix(".npy")
    if name == member:
        raise invalid(f"{member!r} is not an array (.npy)", path=member)
    with _translated(f"array {name!r}"), archive.open(member) as stream:
        array = _header(name, stream)
        yield array, stream


def _header(name: str, stream: IO[bytes]) -> _Array:
    version = npy.read_magic(stream)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the .npy format")
    shape, by_columns, dtype = read(stream)
    if dtype.hasobject or dtype.kind not in _KINDS:
        raise invalid(f"array {name!r} holds {dtype}, not numbers, booleans or text", path=name, got=str(dtype))
    if not shape or min(shape) < 1:
        raise invalid(f"array {name!r} of shape {list(shape)} has no rows", path=name, got=list(shape))
    array = _Array(name, dtype, tuple(map(int, shape)), bool(by_columns))
    if dtype.kind in "US" and not array.is_scalar:
        raise invalid(f"array {name!r} holds text in more than one dimension", path=name, got=list(shape))
    return array


def _blocks(array: _Array, stream: IO[bytes], items: int | None = None) -> Iterator[NDArray[np.generic]]:
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


def profile(path: Path, limits: Limits) -> Profile:
    """Profile an NPZ file."""
    table, rows, unpacked = TableCollector(), dict[str, int](), 0
    with _translated("the archive"), zipfile.ZipFile(path) as archive:
        limits.check_columns(len(_members(archive)))
        check_names([member.removesuffix(".npy") for member in _members(archive)])
        for member in _members(archive):
            with _opened(archive, member) as (array, stream):
                unpacked += array.items * array.dtype.itemsize
                limits.check_unpacked(unpacked)
                rows[array.name] = array.shape[0]
                table.append(_collected(array, stream))
    if len(set(rows.values())) > 1:
        raise invalid("the arrays differ in their number of rows (first dimension)", got=rows)
    return table.finish(min(rows.values(), default=0), Format.NPZ)


def _collected(array: _Array, stream: IO[bytes]) -> Collector | TensorCollector:
    if array.is_scalar:
        scalars = Collector(array.name, written=False)
        for block in _blocks(array, stream):
            scalars.add(_series(block))
        return scalars
    tensors = TensorCollector(array.name, array.shape[1:], array.dtype.newbyteorder("=").name)
    for block in _blocks(array, stream):
        tensors.add(block)
    return tensors


def read(file: BinaryIO, columns: list[ColumnProfile], wanted: list[ColumnProfile], rows: int | None) -> Frame:
    """Read arrays of an NPZ file."""
    with _translated("the archive"), zipfile.ZipFile(file) as archive:
        return {column.name: _column(archive, column, rows) for column in wanted}


def _column(archive: zipfile.ZipFile, column: ColumnProfile, rows: int | None) -> Column:
    with _opened(archive, column.name + ".npy") as (array, stream):
        values = _values(array, stream, rows)
    if column.type == "tensor":
        return Column("tensor", values)
    return text.column_of(_series(values.ravel()), column)


def _values(array: _Array, stream: IO[bytes], rows: int | None) -> NDArray[np.generic]:
    """Return the first `rows` rows; an array stored column by column has to be read whole."""
    count = array.shape[0] if rows is None else min(rows, array.shape[0])
    partly = None if array.by_columns else count * math.prod(array.shape[1:])
    items = np.concatenate(list(_blocks(array, stream, partly)))
    items = items.astype(items.dtype.newbyteorder("="), copy=False)
    if array.by_columns:
        return np.ascontiguousarray(items.reshape(array.shape, order="F")[:count])
    return items.reshape(count, *array.shape[1:])


READER = Reader(profile, read)
