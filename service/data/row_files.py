"""Files of rows that pass through: read as the columns a model knows, some rows at a time, without a profile."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson
import polars as pl

from service.data import csv
from service.data.footers import unpacked_row
from service.data.frame import Frame
from service.data.numbering import numbered
from service.data.parquet import translated
from service.data.profile import ColumnProfile
from service.data.reader import Format
from service.data.row_tables import frame_of_table
from service.data.rows import frame_of_rows
from service.errors import InvalidRows, Problem, TooLarge
from service.findings import did_you_mean

SLICE_BYTES, SLICE_ROWS = 16 << 20, 65_536
"""What is read of a Parquet file at a time; in a row group that is much larger, each slice has to pass those before."""
BLOCK = 512 << 10
LINES = 4_096
LONGEST_LINE = 16 << 20
BOM = b"\xef\xbb\xbf"
SHOWN = 100


class RowFile(Protocol):
    """A file of rows."""

    def check(self) -> None:
        """See that the columns are there and can hold what the model reads; no row is looked at.

        Raises:
            InvalidRows: A column is missing, or of a type that cannot be read as the model's.
            InvalidDataset: The file is not what its format calls for.
        """

    def frames(self) -> Iterator[Frame]:
        """Yield the columns of the model, some rows at a time.

        Raises:
            InvalidRows: Rows that do not fit, by paths `rows[i].COLUMN`, counted from the first of the file.
            InvalidDataset: The file is not what its format calls for.
        """


@dataclass(frozen=True)
class _Rows:
    path: Path
    columns: Sequence[ColumnProfile]
    fillable: Collection[str]

    @cached_property
    def names(self) -> list[str]:
        """The columns of the model."""
        return [column.name for column in self.columns]

    def _check_names(self, found: Sequence[str]) -> None:
        problems = [
            Problem(name, f"the file has no column {name!r}{did_you_mean(name, found)}", name, list(found[:SHOWN]))
            for name in self.names
            if name not in found
        ]
        if problems:
            raise InvalidRows(problems)

    def _framed(self, tables: Iterator[pl.DataFrame]) -> Iterator[Frame]:
        start = 0
        for table in tables:
            if table.height:
                with numbered(start):
                    yield frame_of_table(table, self.columns, self.fillable)
            start += table.height


class ParquetRows(_Rows):
    """Parquet: slices of row groups."""

    def check(self) -> None:
        """See `RowFile.check`."""
        with translated():
            schema = self._table.collect_schema()
        self._check_names(schema.names())
        problems = [
            Problem(column.name, f"holds {schema[column.name]}, and the model knows it as {column.type}", None, wanted)
            for column in self.columns
            if (wanted := _unsuited(schema[column.name], column)) is not None
        ]
        if problems:
            raise InvalidRows(problems)

    def frames(self) -> Iterator[Frame]:
        """See `RowFile.frames`."""
        return self._framed(self._slices())

    @property
    def _table(self) -> pl.LazyFrame:
        return pl.scan_parquet(self.path, glob=False)

    def _slices(self) -> Iterator[pl.DataFrame]:
        with translated():
            table = self._table.select(self.names)
            rows = int(table.select(pl.len()).collect().item())
            size = max(1, int(table.head(1).collect().estimated_size()), unpacked_row(self.path, self.names))
        step = max(1, min(SLICE_ROWS, SLICE_BYTES // size))
        for start in range(0, rows, step):
            with translated():
                part = table.slice(start, step).collect()
            yield from part.iter_slices(_bearable(part))


def _bearable(table: pl.DataFrame) -> int:
    """Return how many rows may be read at once: text that stands in many rows is in the file, and here, only once."""
    lengths = [cells.str.len_bytes().max() for cells in table if cells.dtype == pl.String]
    longest = max((length for length in lengths if isinstance(length, int)), default=1)
    return max(1, SLICE_BYTES // max(longest, 1))


def _unsuited(dtype: pl.DataType, column: ColumnProfile) -> str | None:
    """Return what would suit a column, where values of this type cannot be read as the model's."""
    if column.type == "tensor":
        suits = isinstance(dtype, pl.List | pl.Array)
        return None if suits else f"lists of numbers of the shape {list(column.shape or ())}"
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return "single values"
    if column.type == "category" or dtype == pl.Null:
        return None
    if column.type == "boolean":
        return None if dtype == pl.Boolean else "booleans"
    return None if dtype.is_numeric() or dtype in (pl.Boolean, pl.Duration) else "numbers"


class CsvRows(_Rows):
    """CSV in UTF-8 with a header; the delimiter is found out."""

    def check(self) -> None:
        """See `RowFile.check`."""
        with self.path.open("rb") as file:
            header, _ = next(csv.tables(file, BLOCK))
        self._check_names(header.names)
        tensors = [column for column in self.columns if column.type == "tensor"]
        if tensors:
            message = "is a tensor, which CSV cannot hold; send Parquet or one JSON object a line"
            raise InvalidRows([Problem(column.name, message) for column in tensors])

    def frames(self) -> Iterator[Frame]:
        """See `RowFile.frames`."""
        with self.path.open("rb") as file:
            yield from self._framed(table for _, table in csv.tables(file, BLOCK))


class JsonRows(_Rows):
    """One JSON object a line, or an array of values in the order of the model's columns; blank lines do not count."""

    def check(self) -> None:
        """See `RowFile.check`: every row has its own columns, so there is nothing to see before they are read."""

    def frames(self) -> Iterator[Frame]:
        """See `RowFile.frames`."""
        start = 0
        with self.path.open("rb") as file:
            lines = _lines(file)
            while batch := list(islice(lines, LINES)):
                with numbered(start):
                    rows = [self._row(place, number, line) for place, (number, line) in enumerate(batch)]
                    yield frame_of_rows(rows, self.columns, self.fillable)
                start += len(batch)

    def _row(self, place: int, number: int, line: bytes) -> Any:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InvalidRows([Problem(f"rows[{place}]", f"line {number} is not JSON: {error}")]) from error
        if not isinstance(row, dict):
            return row
        # As in the other formats, the file may hold columns that the model does not use. Arrays are read much faster.
        if all(name in row for name in self.names):
            return [row[name] for name in self.names]
        return {name: row[name] for name in self.names if name in row}


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, each with its number in the file."""
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
        if len(line) > LONGEST_LINE:
            raise TooLarge(f"Line {number} is longer than {LONGEST_LINE >> 20} MiB.")
        line = line.removeprefix(BOM) if number == 1 else line
        if not line.isspace() and line:
            yield number, line


_FORMATS: dict[Format, type[ParquetRows] | type[CsvRows] | type[JsonRows]] = {
    Format.PARQUET: ParquetRows,
    Format.CSV: CsvRows,
    Format.JSON: JsonRows,
}
FORMATS = tuple(_FORMATS)
"""Formats that rows can pass through in."""


def open_rows(path: Path, format: Format | str, columns: Sequence[ColumnProfile], fillable: Collection[str]) -> RowFile:
    """Return the rows of a file as a model reads them; what it needs is checked when it is asked to."""
    return _FORMATS[Format(format)](path, columns, fillable)
