"""IDX, the format of MNIST: one array, or a ZIP of several, each as it is or gzipped.

In a ZIP a file's name says which column it is (`train-images-idx3-ubyte` is `image`, `...-labels-...` is `label`) and,
where there are files of several parts, to which it belongs; the parts stand one below the other, named by `split`.
"""

import gzip
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np
import polars as pl

from service.data import arrays, text
from service.data.archives import PARTS, files_of, steps_of, translated, unzipped
from service.data.arrays import Array
from service.data.collector import Collector
from service.data.frame import Column, Frame
from service.data.profile import ColumnProfile, Profile
from service.data.reader import Format, Limits, Reader, check_names, invalid
from service.data.table import TableCollector
from service.data.tensors import TensorCollector

GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_ENDING = re.compile(r"[-_.]?idx\d*(-\w+)?$", re.IGNORECASE)
_ROLES = {"images": "image", "image": "image", "labels": "label", "label": "label"}
_ALLOWED = "an IDX file, gzipped or not, or a ZIP of such files"


@dataclass(frozen=True)
class _File:
    """One array of an upload: the column and the part that it is, and how to get at its bytes."""

    name: str
    column: str
    part: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    @contextmanager
    def array(self) -> Iterator[tuple[Array, IO[bytes]]]:
        """Open the array behind its header."""
        with translated(repr(self.name), _ALLOWED), self.open() as raw:
            packed = raw.read(len(GZIP)) == GZIP
            raw.seek(0)
            stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw
            yield _header(self.column, stream), stream

    def header(self) -> Array:
        """Return what the array is."""
        with self.array() as (array, _):
            return array


def is_idx(head: bytes) -> bool:
    """Tell whether a file that begins like this is an IDX file."""
    return len(head) > 4 and head[:2] == b"\0\0" and head[2] in _TYPES and head[3] > 0


def _header(column: str, stream: IO[bytes]) -> Array:
    magic = stream.read(4)
    if not is_idx(magic + b"\0"):
        raise ValueError(f"it begins with {magic.hex(' ')}, which no IDX file does")
    lengths = stream.read(4 * magic[3])
    if len(lengths) != 4 * magic[3]:
        raise ValueError("it ends within its header")
    shape = tuple(np.frombuffer(lengths, ">u4").tolist())
    if min(shape) < 1:
        raise ValueError(f"its shape {list(shape)} has no rows")
    return Array(column, np.dtype(_TYPES[magic[2]]), shape)


@contextmanager
def _files(file: BinaryIO) -> Iterator[list[_File]]:
    """Open an upload and find out which arrays it holds."""
    packed = file.read(len(_ZIP)) == _ZIP
    if not packed:
        yield [_alone(file)]
        return
    with unzipped(file, _ALLOWED) as archive:
        yield [_named(archive, info) for info in files_of(archive)]


def _alone(file: BinaryIO) -> _File:
    """Return the array of a file without a name: images, labels or, of another shape or type, `x`."""

    def rewound() -> AbstractContextManager[IO[bytes]]:
        file.seek(0)
        return nullcontext(file)

    array = _File("the file", "", "", rewound).header()
    pictures = array.dtype == np.uint8 and len(array.shape) in (3, 4)
    column = "label" if len(array.shape) == 1 else "image" if pictures else "x"
    return _File("the file", column, "", rewound)


def _named(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _File:
    name = steps_of(info)[-1]
    words = re.split(r"[-_.]", _ENDING.sub("", re.sub(r"\.gz$", "", name, flags=re.IGNORECASE)))
    part = next((PARTS[word.lower()] for word in words if word.lower() in PARTS), "")
    rest = [word for word in words if word and word.lower() not in PARTS]
    column = _ROLES.get(rest[-1].lower(), "-".join(rest)) if rest else "x"
    return _File(info.filename, column, part, lambda: archive.open(info))


def _table(files: list[_File]) -> tuple[list[str], dict[str, list[_File]]]:
    """Return the parts, and for every column its files, one for each part.

    Raises:
        InvalidDataset: Two files are the same column of the same part, or one is missing.
    """
    parts = [part for part in ("", *dict.fromkeys(PARTS.values())) if any(file.part == part for file in files)]
    columns: dict[str, dict[str, _File]] = {}
    for file in files:
        other = columns.setdefault(file.column, {}).setdefault(file.part, file)
        if other is not file:
            raise invalid(f"{other.name!r} and {file.name!r} would both be column {file.column!r}", file.name)
    for column, found in columns.items():
        if missing := [part for part in parts if part not in found]:
            names = [file.name for file in found.values()]
            raise invalid(f"there is no file of column {column!r} for part {missing[0]!r}", column, names)
    return parts, {column: [found[part] for part in parts] for column, found in columns.items()}


def profile(path: Path, limits: Limits) -> Profile:
    """Profile an IDX file, or a ZIP of them."""
    with path.open("rb") as upload, _files(upload) as files:
        parts, columns = _table(files)
        limits.check_columns(len(columns))
        check_names([*columns, *(["split"] if len(parts) > 1 else [])])
        limits.check_unpacked(sum(file.header().size for file in files))
        rows = {name: [piece.header().shape[0] for piece in pieces] for name, pieces in columns.items()}
        counts = next(iter(rows.values()), [])
        if any(others != counts for others in rows.values()):
            raise invalid("the files differ in their number of rows (first dimension)", got=rows)
        table = TableCollector()
        for pieces in columns.values():
            table.append(_collected(pieces))
    if len(parts) > 1:
        names = Collector("split", written=False)
        names.add(_repeated(parts, counts))
        table.append(names)
    return table.finish(sum(counts), Format.IDX)


def _collected(pieces: list[_File]) -> Collector | TensorCollector:
    """Return the profile of one column, the parts below each other."""
    first = pieces[0].header()
    collector = arrays.collector_of(first)
    for piece in pieces:
        with piece.array() as (array, stream):
            if (array.dtype, array.shape[1:]) != (first.dtype, first.shape[1:]):
                raise ValueError(f"its rows are {_said(array)}, those of {pieces[0].name!r} {_said(first)}")
            arrays.collect(array, stream, collector)
            if stream.read(1):
                raise ValueError("it goes on behind its last row")
    return collector


def _said(array: Array) -> str:
    return f"{array.dtype.newbyteorder('=').name} of shape {list(array.shape[1:])}"


def _repeated(parts: list[str], counts: list[int]) -> pl.Series:
    runs = [pl.repeat(part, count, dtype=pl.String, eager=True) for part, count in zip(parts, counts, strict=True)]
    return pl.concat(runs)


def read(file: BinaryIO, columns: list[ColumnProfile], wanted: list[ColumnProfile], rows: int | None) -> Frame:
    """Read columns of an IDX file, or of a ZIP of them."""
    with _files(file) as files:
        parts, found = _table(files)
        return {column.name: _column(column, parts, found, rows) for column in wanted}


def batches(file: BinaryIO, columns: list[ColumnProfile], wanted: list[ColumnProfile], rows: int) -> Iterator[Frame]:
    """Yield columns of an IDX file, or of a ZIP of them, some rows at a time and part by part."""
    with _files(file) as files:
        parts, found = _table(files)
        for place, part in enumerate(parts):
            pieces = {name: column[place] for name, column in found.items()}
            with ExitStack() as stack:
                sides = [_side(stack, column, part, pieces, rows) for column in wanted]
                for frame in zip(*sides, strict=True):
                    yield {column.name: values for column, values in zip(wanted, frame, strict=True)}


def _side(stack: ExitStack, column: ColumnProfile, part: str, pieces: dict[str, _File], rows: int) -> Iterator[Column]:
    """Return one column of one part, some rows at a time; its file stays open as long as the stack."""
    if column.name in pieces:
        array, stream = stack.enter_context(pieces[column.name].array())
        return arrays.columns(array, stream, column, rows)
    count = next(iter(pieces.values())).header().shape[0]
    sizes = (min(rows, count - start) for start in range(0, count, rows))
    return (text.column_of(_repeated([part], [size]), column) for size in sizes)


def _column(column: ColumnProfile, parts: list[str], found: dict[str, list[_File]], rows: int | None) -> Column:
    if column.name not in found:
        counts = [piece.header().shape[0] for piece in next(iter(found.values()))]
        return text.column_of(_repeated(parts, counts)[:rows], column)
    columns, left = list[Column](), rows
    for piece in found[column.name]:
        if left != 0:
            with piece.array() as (array, stream):
                columns.append(arrays.column(array, stream, column, left))
            left = None if left is None else left - len(columns[-1].values)
    return text.joined(columns)


READER = Reader(profile, read, batches)
