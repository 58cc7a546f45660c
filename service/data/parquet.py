"""Parquet: one column at a time, in slices of rows, so that memory follows the largest piece of one column."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import polars as pl

from service.data import text
from service.data.collector import Collector
from service.data.frame import Column, Frame
from service.data.profile import ColumnProfile, Profile
from service.data.reader import Format, Limits, Reader, check_names, invalid
from service.data.table import TableCollector
from service.data.tensors import TensorCollector, from_lists

SLICE_BYTES = 4 << 20
SLICE_ROWS = 100_000


@contextmanager
def translated() -> Iterator[None]:
    """Turn what goes wrong inside a broken file into an answer; polars panics on some of them."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise invalid(f"the file is not Parquet that can be read: {reason}") from error


def profile(path: Path, limits: Limits) -> Profile:
    """Profile a Parquet file."""
    collectors = TableCollector()
    with translated():
        table = pl.scan_parquet(path, glob=False)
        schema = table.collect_schema()
        rows = int(table.select(pl.len()).collect().item())
        limits.check_columns(len(schema))
        check_names(schema.names())
        limits.check_unpacked(rows * len(schema), "the table (at a byte a cell)")
        for name, dtype in schema.items() if rows else ():
            collectors.append(_collected(table.select(name), name, dtype, rows, limits))
    return collectors.finish(rows, Format.PARQUET)


def _collected(
    column: pl.LazyFrame, name: str, dtype: pl.DataType, rows: int, limits: Limits
) -> Collector | TensorCollector:
    if not dtype.is_nested():
        values = Collector(name, written=False)
        for cells in _slices(column, rows):
            values.add(scalars(cells))
        return values
    first = from_lists(column.head(1).collect().to_series())
    limits.check_unpacked(rows * first.nbytes, f"column {name!r}")
    tensors = TensorCollector(name, first.shape[1:], first.dtype.name)
    for cells in _slices(column, rows):
        tensors.add(cells)
    return tensors


def _slices(column: pl.LazyFrame, rows: int) -> Iterator[pl.Series]:
    """Read a column in slices of some MiB; the first row tells how large rows are."""
    size = max(1, int(column.head(1).collect().estimated_size()))
    step = max(1, min(SLICE_ROWS, SLICE_BYTES // size))
    for start in range(0, rows, step):
        yield column.slice(start, step).collect().to_series()


def scalars(cells: pl.Series) -> pl.Series:
    """Return scalars as text, booleans or numbers that a collector takes; times become text (ISO 8601)."""
    dtype = cells.dtype
    if dtype.is_decimal() or dtype == pl.Float32:
        return cells.cast(pl.Float64)
    if dtype.is_numeric() or dtype in (pl.Boolean, pl.String):
        return cells
    if dtype == pl.Duration:
        return cells.dt.total_seconds(fractional=True)
    if dtype.is_temporal() or dtype in (pl.Categorical, pl.Enum, pl.Null):
        return cells.cast(pl.String)
    raise invalid(f"column {cells.name!r} has the type {dtype}, which cannot be used", path=cells.name, got=str(dtype))


def read(file: BinaryIO, columns: list[ColumnProfile], wanted: list[ColumnProfile], rows: int | None) -> Frame:
    """Read columns of a Parquet file; the file must have a name."""
    with translated():
        table = pl.scan_parquet(Path(file.name), glob=False)
        table = table if rows is None else table.head(rows)
        return {column.name: _column(table.select(column.name).collect().to_series(), column) for column in wanted}


def batches(file: BinaryIO, columns: list[ColumnProfile], wanted: list[ColumnProfile], rows: int) -> Iterator[Frame]:
    """Yield columns of a Parquet file, some rows at a time; the file must have a name."""
    with translated():
        table = pl.scan_parquet(Path(file.name), glob=False).select([column.name for column in wanted])
        total = int(table.select(pl.len()).collect().item())
        for start in range(0, total, rows):
            part = table.slice(start, rows).collect()
            yield {column.name: _column(part[column.name], column) for column in wanted}


def _column(cells: pl.Series, column: ColumnProfile) -> Column:
    if column.type == "tensor":
        return Column("tensor", from_lists(cells))
    return text.column_of(scalars(cells), column)


READER = Reader(profile, read, batches)
