"""What a cell of text means: a missing value, a number, true or false, or a category.

A number is what `float` reads in plain ASCII without underscores. An integer with leading zeros (`007`), or of
2^53 and beyond (which float64 would round) is an identifier, not a quantity: it makes a column of integers a category.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.data.frame import Column, Kind
from service.data.profile import ColumnProfile, ColumnType
from service.data.reader import invalid

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")
"""Cells that stand for no value, in every format; blanks around a cell do not count."""

BLANKS = " \t"
LARGEST_INTEGER = 2**53 - 1
"""Up to here every integer has a float64 that no other integer is rounded to."""

_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = r"^[+-]?[0-9]+$"
_LEADING_ZERO = r"^[+-]?0[0-9]"


def clean(cells: pl.Series) -> pl.Series:
    """Return the cells without blanks around them, null where a value is missing."""
    trimmed = cells.str.strip_chars(BLANKS)
    return trimmed.set(trimmed.is_in(MISSING), None)


def numbers(cells: pl.Series) -> pl.Series:
    """Return float64, null where the cell is missing or no number; the text "nan" is not a number but NaN."""
    return cells.cast(pl.Float64, strict=False)


def booleans(cells: pl.Series) -> pl.Series:
    """Return booleans, null where the cell is missing or neither true nor false."""
    return cells.replace_strict(_BOOLEANS, default=None, return_dtype=pl.Boolean)


def whole_numbers(cells: pl.Series, found: pl.Series) -> tuple[bool, bool]:
    """Tell whether every cell that is not null is written as an integer, and whether one has a leading zero.

    `found` are the numbers of the cells.
    """
    values = found.to_numpy()
    if (np.mod(values[np.isfinite(values)], 1) != 0).any():
        return False, False
    # Most integers look like what they print as, and that is the quickest to find out.
    if cells.cast(pl.Int64, strict=False).cast(pl.String).equals(cells):
        return True, False
    written = cells.filter(found.is_not_nan())
    return bool(written.str.contains(_INTEGER).all()), bool(written.str.contains(_LEADING_ZERO).any())


def number_array(cells: pl.Series) -> NDArray[np.float64]:
    """Return float64 [rows], NaN where missing, from text, numbers or booleans.

    Raises:
        ValueError: A cell that is not missing is no number; the message shows it.
    """
    if cells.dtype != pl.String:
        return cells.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)
    found = numbers(cells)
    doubtful = found.is_null() & cells.is_not_null()
    if doubtful.any():
        cells = clean(cells)
        found = numbers(cells)
        wrong = cells.filter(found.is_null() & cells.is_not_null())
        if len(wrong):
            raise ValueError(f"{wrong[0][:50]!r} is not a number")
    return found.fill_null(float("nan")).to_numpy().astype(np.float64)


def boolean_array(cells: pl.Series) -> NDArray[np.float64]:
    """Return float64 [rows]: 1 for true, 0 for false, NaN where missing.

    Raises:
        ValueError: A cell that is not missing is neither true nor false.
    """
    if cells.dtype == pl.String:
        cells = clean(cells)
        found = booleans(cells)
        if found.null_count() != cells.null_count():
            raise ValueError("a cell is neither true nor false")
        cells = found
    return cells.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)


def category_array(cells: pl.Series) -> NDArray[np.object_]:
    """Return str [rows], None where missing; equal values are one object, so that a long column stays small."""
    cells = clean(cells.cast(pl.String))
    words = cells.unique().drop_nulls()
    places = cells.cast(pl.Enum(words)).to_physical().cast(pl.Int64).fill_null(len(words)).to_numpy()
    found: NDArray[np.object_] = np.array([*words.to_list(), None], dtype=object)[places]
    return found


def kind_of(type: ColumnType) -> Kind:
    """Return how a frame holds a column of this type."""
    if type in ("category", "tensor"):
        return cast(Kind, type)
    return "number"


def column_of(cells: pl.Series, profile: ColumnProfile) -> Column:
    """Return cells as the column that its profile describes.

    Raises:
        InvalidDataset: A cell does not fit the type of the column.
    """
    read = {"category": category_array, "boolean": boolean_array}.get(profile.type, number_array)
    try:
        return Column(kind_of(profile.type), read(cells), profile.type == "boolean")
    except (ValueError, pl.exceptions.PolarsError) as error:
        raise invalid(f"column {profile.name!r} does not fit its profile: {error}", path=profile.name) from error


def joined(parts: Sequence[Column]) -> Column:
    """Return columns of one kind, one below the other."""
    return Column(parts[0].kind, np.concatenate([part.values for part in parts]), parts[0].indicator)
