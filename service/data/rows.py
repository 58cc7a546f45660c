"""Rows of a request to columns: every value checked, every problem named by its path."""

import math
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from service.data import text
from service.data.frame import Column, Frame
from service.data.profile import ColumnProfile
from service.errors import InvalidRows, Problem

MAX_PROBLEMS = 100
_ABSENT: Any = object()
_NUMBERS = ("integer", "number")
_EXPECTED = {"integer": "a number", "number": "a number", "boolean": "true or false", "category": "text"}


def frame_of_rows(
    rows: Sequence[object], columns: Sequence[ColumnProfile], fillable: Collection[str] = frozenset()
) -> Frame:
    """Return rows, each an object by column name or an array in the order of `columns`, as a frame.

    Where the only column is a tensor, a row may be the tensor itself. Values of the columns `fillable`
    may be null or left out.

    Raises:
        InvalidRows: With every problem (at most 100), by paths like `rows[3].alcohol`.
    """
    names = [column.name for column in columns]
    if are_numbers(columns) and (block := block_of(rows, names)) is not None:
        return {name: Column("number", values) for name, values in zip(names, block.T, strict=True)}
    problems: list[Problem] = []
    if not rows:
        raise InvalidRows([Problem("rows", "there must be at least one row", got=[])])
    table = [_cells(i, row, names, columns, problems) for i, row in enumerate(rows)]
    # A row of the wrong form is looked at no further, but the values of the others are.
    places = [i for i, cells in enumerate(table) if cells is not None]
    fitting = zip(*(cells for cells in table if cells is not None), strict=True)
    frame = {
        column.name: _column(column, list(cells), places, column.name in fillable, problems)
        for column, cells in zip(columns, fitting, strict=False)
    }
    if problems:
        raise InvalidRows(sorted(problems, key=_row_number)[:MAX_PROBLEMS])
    return frame


def are_numbers(columns: Sequence[ColumnProfile]) -> bool:
    """Return whether all columns hold one number a row."""
    return all(column.type in _NUMBERS for column in columns)


def block_of(rows: Sequence[object], names: Sequence[str]) -> NDArray[np.float64] | None:
    """Return rows of number columns that hold finite numbers and nothing else, [rows, columns]; None for any other.

    That is what most requests hold, and column by column it takes ten times as long.
    """
    if not rows or not names:
        return None
    lists = [_listed(row, names) for row in rows]
    if None in lists:
        return None
    cells = list(chain.from_iterable(cast(list[list[Any]], lists)))
    if not set(map(type, cells)) <= {int, float}:
        return None
    try:
        values = np.array(cells, np.float64)
    except OverflowError:
        return None
    return values.reshape(len(rows), len(names)) if np.isfinite(values).all() else None


def _listed(row: object, names: Sequence[str]) -> list[Any] | None:
    """Return the values of a row that has all of the columns and no other; None where it does not."""
    if type(row) is list:
        return row if len(row) == len(names) else None
    if type(row) is dict and len(row) == len(names):
        return [row.get(name) for name in names]  # None, for a column that is not there, is no number
    return None


def _row_number(problem: Problem) -> int:
    return int(problem.path[len("rows[") :].partition("]")[0])


def _cells(
    i: int, row: object, names: list[str], columns: Sequence[ColumnProfile], problems: list[Problem]
) -> Sequence[object] | None:
    """Return the values of a row in the order of the columns, None when it is no such row."""
    if isinstance(row, dict):
        if unknown := row.keys() - set(names):
            problems += [_unknown(i, str(name), names) for name in sorted(map(str, unknown))]
        return [row.get(name, _ABSENT) for name in names]
    if not isinstance(row, list | tuple):
        problems.append(Problem(f"rows[{i}]", "a row is an object of columns or an array of values", got=_shown(row)))
    elif len(columns) == 1 and columns[0].type == "tensor" and _depth(row) == len(columns[0].shape or ()):
        return [row]
    elif len(row) != len(names):
        message = f"the row has {len(row)} values; the model takes {len(names)}: {', '.join(names[:20])}"
        problems.append(Problem(f"rows[{i}]", message, got=len(row), allowed=len(names)))
    else:
        return row
    return None


def _unknown(i: int, name: str, names: list[str]) -> Problem:
    close = get_close_matches(name, names, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return Problem(f"rows[{i}].{name}", f"the model has no such column{hint}", got=name, allowed=names[:MAX_PROBLEMS])


def _depth(value: object) -> int:
    depth = 0
    while isinstance(value, list | tuple) and value:
        value, depth = value[0], depth + 1
    return depth


def _column(
    column: ColumnProfile, cells: list[Any], places: list[int], fillable: bool, problems: list[Problem]
) -> Column:
    """Return one column; what is wrong in it is added to `problems`. `places` are the numbers of the rows."""
    read = _READERS[column.type]
    values = read(column, cells)
    if values is None or (not fillable and _any_missing(column, values)):
        problems += _problems(column, cells, places, fillable)
        return Column("number", np.empty(0))
    return Column(text.kind_of(column.type), values, column.type == "boolean")


def _any_missing(column: ColumnProfile, values: NDArray[Any]) -> bool:
    if column.type == "category":
        return None in values
    return bool(np.isnan(values).any())


def _numbers(column: ColumnProfile, cells: list[Any]) -> NDArray[np.float64] | None:
    if not {type(cell) for cell in cells} <= {int, float}:
        cells = [None if cell is _ABSENT else cell for cell in cells]
        if not {type(cell) for cell in cells} <= {int, float, type(None)}:
            return None
        # NaN stands for a missing value inside, but cannot be sent.
        if any(cell is not None and cell != cell for cell in cells):
            return None
        cells = [math.nan if cell is None else cell for cell in cells]
        return _finite(cells, allow_nan=True)
    return _finite(cells, allow_nan=False)


def _finite(cells: list[Any], *, allow_nan: bool) -> NDArray[np.float64] | None:
    try:
        values = np.array(cells, np.float64)
    except OverflowError:
        return None
    wrong = np.isinf(values) if allow_nan else ~np.isfinite(values)
    return None if wrong.any() else values


def _booleans(column: ColumnProfile, cells: list[Any]) -> NDArray[np.float64] | None:
    cells = [None if cell is _ABSENT else cell for cell in cells]
    if not {type(cell) for cell in cells} <= {bool, type(None)}:
        return None
    return np.array(cells, np.float64)


def _categories(column: ColumnProfile, cells: list[Any]) -> NDArray[np.object_] | None:
    words = [_word(cell) for cell in cells]
    if _ABSENT in words:
        return None
    values = np.empty(len(words), object)
    values[:] = words
    return values


def _word(cell: Any) -> Any:
    """Return text as a file would be read: blanks off, missing as None; `_ABSENT` for what is no text."""
    if cell is None or cell is _ABSENT:
        return None
    if isinstance(cell, bool):
        cell = "true" if cell else "false"
    if isinstance(cell, int):
        return str(cell)
    if not isinstance(cell, str):
        return _ABSENT
    word = cell.strip(text.BLANKS)
    return None if word in text.MISSING else word


def _tensors(column: ColumnProfile, cells: list[Any]) -> NDArray[Any] | None:
    shape = tuple(column.shape or ())
    try:
        values = np.array(cells)
    except ValueError:
        return None
    if values.shape[1:] != shape or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        return None
    return values


_READERS: dict[str, Callable[[ColumnProfile, list[Any]], NDArray[Any] | None]] = {
    "integer": _numbers,
    "number": _numbers,
    "boolean": _booleans,
    "category": _categories,
    "tensor": _tensors,
}


def _problems(column: ColumnProfile, cells: list[Any], places: list[int], fillable: bool) -> list[Problem]:
    """Look at the cells one by one, now that something is known to be wrong."""
    found = ((i, cell, _problem(column, cell, fillable)) for i, cell in zip(places, cells, strict=True))
    named = (Problem(f"rows[{i}].{column.name}", why, _shown(cell), expected(column)) for i, cell, why in found if why)
    return [problem for problem, _ in zip(named, range(MAX_PROBLEMS), strict=False)]


def _problem(column: ColumnProfile, cell: Any, fillable: bool) -> str | None:
    values = _READERS[column.type](column, [cell])
    if values is None:
        return "must be null or " + expected(column) if fillable else "must be " + expected(column)
    if not fillable and _any_missing(column, values):
        return "is missing, and the model has no step that fills it in"
    return None


def expected(column: ColumnProfile) -> str:
    """Return in words what a value of a column has to be."""
    if column.type == "tensor":
        return f"an array of finite numbers of shape {list(column.shape or ())}"
    return "a finite number" if column.type in ("integer", "number") else _EXPECTED[column.type]


def _shown(cell: Any) -> Any:
    """Return the value as a problem shows it: short, and always JSON."""
    if cell is _ABSENT or cell is None:
        return None
    if isinstance(cell, bool) or (isinstance(cell, float) and math.isfinite(cell)):
        return cell
    if isinstance(cell, int) and abs(cell) < 2**53:
        return cell
    try:
        return str(cell)[:100]
    except ValueError:  # an integer of more digits than Python prints
        return f"a number of {cell.bit_length()} bits"
