"""NPZ: one array a column, the first axis being the rows; streamed out of the ZIP, never unpickled."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from numpy.lib import format as npy

from service.data import arrays
from service.data.archives import translated, unzipped
from service.data.arrays import Array
from service.data.frame import Column, Frame
from service.data.profile import ColumnProfile, Profile
from service.data.reader import Format, Limits, Reader, check_names, invalid
from service.data.table import TableCollector

_KINDS = "biufUS"
_ALLOWED = "an NPZ file as numpy.savez writes it"


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [name for name in archive.namelist() if not name.endswith("/")]


@contextmanager
def _opened(archive: zipfile.ZipFile, member: str) -> Iterator[tuple[Array, IO[bytes]]]:
    """Open one array of the archive behind its header."""
    name = member.removesuffix(".npy")
    if name == member:
        raise invalid(f"{member!r} is not an array (.npy)", path=member)
    with translated(f"array {name!r}", _ALLOWED), archive.open(member) as stream:
        array = _header(name, stream)
        yield array, stream


def _header(name: str, stream: IO[bytes]) -> Array:
    version = npy.read_magic(stream)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the .npy format")
    shape, by_columns, dtype = read(stream)
    if dtype.hasobject or dtype.kind not in _KINDS:
        raise invalid(f"array {name!r} holds {dtype}, not numbers, booleans or text", path=name, got=str(dtype))
    if not shape or min(shape) < 1:
        raise invalid(f"array {name!r} of shape {list(shape)} has no rows", path=name, got=list(shape))
    array = Array(name, dtype, tuple(map(int, shape)), bool(by_columns))
    if dtype.kind in "US" and not array.is_scalar:
        raise invalid(f"array {name!r} holds text in more than one dimension", path=name, got=list(shape))
    return array


def profile(path: Path, limits: Limits) -> Profile:
    """Profile an NPZ file."""
    table, rows, unpacked = TableCollector(), dict[str, int](), 0
    with unzipped(path, _ALLOWED) as archive:
        limits.check_columns(len(_members(archive)))
        check_names([member.removesuffix(".npy") for member in _members(archive)])
        for member in _members(archive):
            with _opened(archive, member) as (array, stream):
                unpacked += array.size
                limits.check_unpacked(unpacked)
                rows[array.name] = array.shape[0]
                collector = arrays.collector_of(array)
                arrays.collect(array, stream, collector)
                table.append(collector)
    if len(set(rows.values())) > 1:
        raise invalid("the arrays differ in their number of rows (first dimension)", got=rows)
    return table.finish(min(rows.values(), default=0), Format.NPZ)


def read(file: BinaryIO, columns: list[ColumnProfile], wanted: list[ColumnProfile], rows: int | None) -> Frame:
    """Read arrays of an NPZ file."""
    with unzipped(file, _ALLOWED) as archive:
        return {column.name: _column(archive, column, rows) for column in wanted}


def batches(file: BinaryIO, columns: list[ColumnProfile], wanted: list[ColumnProfile], rows: int) -> Iterator[Frame]:
    """Yield arrays of an NPZ file, some rows at a time, all of them side by side."""
    with unzipped(file, _ALLOWED) as archive, ExitStack() as stack:
        parts = []
        for column in wanted:
            array, stream = stack.enter_context(_opened(archive, column.name + ".npy"))
            parts.append(arrays.columns(array, stream, column, rows))
        for found in zip(*parts, strict=True):
            yield {column.name: values for column, values in zip(wanted, found, strict=True)}


def _column(archive: zipfile.ZipFile, column: ColumnProfile, rows: int | None) -> Column:
    with _opened(archive, column.name + ".npy") as (array, stream):
        return arrays.column(array, stream, column, rows)


READER = Reader(profile, read, batches)
