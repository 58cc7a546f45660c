"""JSON: an array of objects, or one object a line (NDJSON); keys are columns, lists of numbers are tensors.

Two passes: the first sees which types every column has, the second reads its values as the one that holds all.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

import polars as pl

from service.data import text
from service.data.collector import Collector
from service.data.frame import Column, Frame
from service.data.profile import ColumnProfile, Profile
from service.data.reader import Format, Limits, Reader, check_names, invalid
from service.data.table import TableCollector
from service.data.tensors import TensorCollector, from_lists
from service.errors import TooLarge

BATCH = 5_000
_LARGEST_INT64 = 2**63 - 1

Row = dict[str, object]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write null for a missing value")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _rows(file: BinaryIO, limit: int | None) -> Iterator[Row]:
    """Read the rows one by one."""
    file.seek(0)
    if file.read(3) != b"\xef\xbb\xbf":
        file.seek(0)
    start = file.tell()
    first = next((byte for byte in iter(lambda: file.read(1), b"") if not byte.isspace()), b"")
    file.seek(start)
    rows = _array(file, limit) if first == b"[" else _lines(file, limit)
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise invalid("a row must be an object of column names and values", path=f"rows[{i}]", got=_short(row))
        yield row


def _array(file: BinaryIO, limit: int | None) -> Iterator[object]:
    """Read the elements of an array without holding more than one of them as objects."""
    data = file.read() if limit is None else file.read(limit + 1)
    if limit is not None and len(data) > limit:
        raise TooLarge(f"a JSON array of rows may have at most {limit} bytes; larger data fits CSV, Parquet or NDJSON")
    try:
        content = data.decode()
        del data
        place = _after_blanks(content, _after_blanks(content, 0) + 1)
        more = content[place : place + 1] != "]"
        while more:
            row, place = _DECODER.raw_decode(content, place)
            yield row
            place = _after_blanks(content, place)
            more = content[place : place + 1] == ","
            if more:
                place = _after_blanks(content, place + 1)
            elif content[place : place + 1] != "]":
                raise json.JSONDecodeError("expected ',' or ']'", content, place)
        if _after_blanks(content, place + 1) != len(content):
            raise json.JSONDecodeError("more text behind the array", content, place + 1)
    except (ValueError, RecursionError) as error:
        raise invalid(f"the file is not JSON: {error}") from error


def _after_blanks(content: str, place: int) -> int:
    while content[place : place + 1] in (" ", "\n", "\r", "\t"):
        place += 1
    return place


def _lines(file: BinaryIO, limit: int | None) -> Iterator[object]:
    for number, line in enumerate(iter(lambda: file.readline(-1 if limit is None else limit + 1), b""), 1):
        if limit is not None and len(line) > limit:
            raise TooLarge(f"line {number} is longer than {limit} bytes")
        if line.strip():
            try:
                yield _DECODER.decode(line.decode())
            except (ValueError, RecursionError) as error:
                raise invalid(
                    f"line {number} is not JSON: {error}", allowed="an array of objects, or one a line"
                ) from error


@dataclass
class _Types:
    """Which JSON types the values of a column have."""

    found: set[type] = field(default_factory=set)
    beyond_int64: bool = False

    def add(self, value: object) -> None:
        self.found.add(type(value))
        if type(value) is int and abs(value) > _LARGEST_INT64:
            self.beyond_int64 = True

    def dtype(self, name: str) -> pl.DataType | None:
        """Return the type that holds every value; None for tensors."""
        found = self.found - {type(None)}
        if found & {list, dict}:
            if found != {list}:
                raise invalid("the column mixes lists or objects with other values", path=name)
            return None
        if found == {bool}:
            return pl.Boolean()
        if found == {float} or found == {int, float}:
            return pl.Float64()
        return pl.Int64() if found == {int} and not self.beyond_int64 else pl.String()


def _types(rows: Iterator[Row], limits: Limits) -> tuple[dict[str, pl.DataType | None], int]:
    """Return the type of every column, in the order they first appear, and the number of rows."""
    types: dict[str, _Types] = {}
    count = 0
    for row in rows:
        count += 1
        for name, value in row.items():
            if name not in types:
                types[name] = _Types()
                limits.check_columns(len(types))
            types[name].add(value)
    check_names(list(types))
    return {name: found.dtype(name) for name, found in types.items()}, count


def _series(name: str, values: list[object], dtype: pl.DataType | None) -> pl.Series:
    """Return values of one column, of its type or as lists."""
    try:
        if dtype is None:
            return pl.Series(name, values, strict=False)
        if isinstance(dtype, pl.String):
            values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        if isinstance(dtype, pl.Float64):
            numbers = cast(list[float | None], values)  # what is none is refused by `float`
            values = [None if number is None else float(number) for number in numbers]
        return pl.Series(name, values, dtype=dtype)
    except (ValueError, OverflowError, TypeError, pl.exceptions.PolarsError) as error:
        raise invalid(f"column {name!r} cannot be read: {error}", path=name) from error


def _batches(rows: Iterator[Row], names: list[str], size: int | None = None) -> Iterator[dict[str, list[object]]]:
    while batch := list(islice(rows, size or BATCH)):
        yield {name: [row.get(name) for row in batch] for name in names}


def profile(path: Path, limits: Limits) -> Profile:
    """Profile a file of JSON rows."""
    table = TableCollector()
    with path.open("rb") as file:
        dtypes, rows = _types(_rows(file, limits.max_json_bytes), limits)
        for batch in _batches(_rows(file, limits.max_json_bytes), list(dtypes)):
            block = [_series(name, values, dtypes[name]) for name, values in batch.items()]
            table.columns = table.columns or [_collector(cells, dtypes[cells.name]) for cells in block]
            table.add(block)
    return table.finish(rows, Format.JSON)


def _collector(cells: pl.Series, dtype: pl.DataType | None) -> Collector | TensorCollector:
    if dtype is not None:
        return Collector(cells.name, written=False)
    return TensorCollector(cells.name, from_lists(cells[:1]).shape[1:], "float64")


def read(file: BinaryIO, columns: list[ColumnProfile], wanted: list[ColumnProfile], rows: int | None) -> Frame:
    """Read columns of a file of JSON rows."""
    parts: dict[str, list[Column]] = {column.name: [] for column in wanted}
    for batch in _batches(islice(_rows(file, None), rows), list(parts)):
        for column in wanted:
            parts[column.name].append(_column(batch[column.name], column))
    return {name: text.joined(columns) for name, columns in parts.items()}


def batches(file: BinaryIO, columns: list[ColumnProfile], wanted: list[ColumnProfile], rows: int) -> Iterator[Frame]:
    """Yield columns of a file of JSON rows, some rows at a time."""
    for batch in _batches(_rows(file, None), [column.name for column in wanted], rows):
        yield {column.name: _column(batch[column.name], column) for column in wanted}


def _column(values: list[object], column: ColumnProfile) -> Column:
    if column.type == "tensor":
        return Column("tensor", from_lists(_series(column.name, values, None)).astype(column.dtype))
    dtype = {"boolean": pl.Boolean(), "category": pl.String()}.get(column.type, pl.Float64())
    return text.column_of(_series(column.name, values, dtype), column)


def _short(value: object) -> object:
    return json.dumps(value, default=str)[:100]


READER = Reader(profile, read, batches)
