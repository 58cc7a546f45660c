"""Tables of a file to columns as a model knows them: every cell checked, the first wrong ones named by their rows."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.data import text
from service.data.frame import Column, Frame
from service.data.numbering import row_of
from service.data.parquet import scalars
from service.data.profile import ColumnProfile
from service.data.rows import MAX_PROBLEMS, expected
from service.data.tensors import from_lists
from service.errors import InvalidDataset, InvalidRows, Problem

MISSING = "is missing, and the model has no step that fills it in"


def frame_of_table(table: pl.DataFrame, columns: Sequence[ColumnProfile], fillable: Collection[str]) -> Frame:
    """Return a table as a frame; only values of the columns `fillable` may be missing.

    Raises:
        InvalidRows: Cells that do not fit, by paths `rows[i].COLUMN`; of each column the first of another type.
    """
    frame, problems = Frame(), list[Problem]()
    for column in columns:
        try:
            frame[column.name] = _read(table[column.name], column)
        except InvalidDataset:
            problems.append(_first_unfit(table[column.name], column))
    problems += unfit(frame, columns, fillable)
    if problems:
        raise InvalidRows(sorted(problems, key=lambda problem: row_of(problem)[0] or 0)[:MAX_PROBLEMS])
    return frame


def unfit(frame: Frame, columns: Sequence[ColumnProfile], fillable: Collection[str]) -> list[Problem]:
    """Return what is missing or infinite in a frame, at most 100 problems a column; tensors are not looked into."""
    problems = []
    for column in columns:
        if column.name not in frame or column.type == "tensor":
            continue
        values = frame[column.name].values
        if column.type == "category":
            missing, infinite = np.array([word is None for word in values], bool), np.zeros(0, bool)
        else:
            missing, infinite = np.isnan(values), np.isinf(values)
        if column.name not in fillable:
            problems += [Problem(path, MISSING, None, expected(column)) for path in _paths(missing, column)]
        message = "must be " + expected(column)
        problems += [Problem(path, message, "infinite", expected(column)) for path in _paths(infinite, column)]
    return problems


def _paths(wrong: NDArray[np.bool_], column: ColumnProfile) -> list[str]:
    return [f"rows[{row}].{column.name}" for row in np.flatnonzero(wrong)[:MAX_PROBLEMS].tolist()]


def _read(cells: pl.Series, column: ColumnProfile) -> Column:
    if column.type == "tensor":
        return Column("tensor", from_lists(cells, 0, column.shape))
    return text.column_of(scalars(cells), column)


def _first_unfit(cells: pl.Series, column: ColumnProfile) -> Problem:
    """Return the problem of the first cell that does not fit, found by halving the cells among which it is."""
    low, high = 0, len(cells)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _read(cells[low:middle], column)
            low = middle
        except InvalidDataset:
            high = middle
    return Problem(f"rows[{low}].{column.name}", "must be " + expected(column), _shown(cells[low]), expected(column))


def _shown(cell: Any) -> Any:
    return cell if cell is None or isinstance(cell, bool | int) else str(cell)[:100]
