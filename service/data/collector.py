"""One pass over a column in memory that does not grow: counts of its values while they are few, moments after."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.data import text
from service.data.moments import Moments
from service.data.profile import ColumnProfile, ColumnType, Value, ValueCount

DISTINCT_LIMIT = 10_000
"""Different values up to which a column's values are counted, one by one."""
LONGEST_VALUE = 256
"""Text longer than this many bytes is prose: its column's values are not counted."""


class Collector:
    """Collects what there is to know of one column.

    While a column has few different values, only these are counted, and everything is worked out from
    them at the end. When they become too many they are folded into running sums, and so is all that
    follows. Both ways look at cells with the same `_Sums.add`, so that it makes no difference to the result.

    `written` columns hold text in which numbers are to be found (CSV); other text is text (JSON, Parquet).
    """

    def __init__(self, name: str, *, written: bool) -> None:
        self.name = name
        self._sums = _Sums(written)
        self._counts: list[pl.DataFrame] | None = []
        self.tracked = 0

    def add(self, cells: pl.Series) -> None:
        """Take in the next rows, of text, numbers or booleans."""
        if cells.dtype == pl.String and (cells.str.len_bytes().max() or 0) > LONGEST_VALUE:  # type: ignore[operator]
            self.fold()
        if self._counts is None:
            self._sums.add(cells, None)
            return
        found = cells.alias("value").value_counts(name="count")
        self._counts.append(found.with_columns(pl.col("count").cast(pl.Int64)))
        self.tracked += found.height
        if self.tracked > 2 * DISTINCT_LIMIT:
            self._compact()

    def fold(self) -> None:
        """Stop counting values: add those that were counted to the running sums."""
        if self._counts:
            counted = _added_up(self._counts)
            self._sums.add(counted["value"], counted["count"].to_numpy())
        self._counts, self.tracked = None, 0

    def _compact(self) -> None:
        assert self._counts is not None
        self._counts = [_added_up(self._counts)]
        self.tracked = self._counts[0].height
        # One more: missing is a value here, but none of the column's.
        if self.tracked > DISTINCT_LIMIT + 1:
            self.fold()

    def finish(self) -> ColumnProfile:
        """Return the profile of everything that was added."""
        counted = _added_up(self._counts) if self._counts else None
        if counted is not None:
            self._sums.add(counted["value"], counted["count"].to_numpy())
        kind = self._sums.kind(counted)
        values = None if counted is None else _values(counted, kind)
        listed = values if values is not None and _listable(kind, values) and len(values) <= DISTINCT_LIMIT else None
        moments = self._sums.moments if kind in ("integer", "number") else Moments()
        return ColumnProfile(
            name=self.name,
            type=kind,
            missing=self._sums.missing,
            infinite=self._sums.infinite if kind == "number" else 0,
            distinct=None if values is None or len(values) > DISTINCT_LIMIT else len(values),
            categories=listed,
            **moments.summary(),
        )


@dataclass
class _Sums:
    """Running sums over the cells of a column, and whether they still all read as numbers."""

    written: bool
    missing: int = 0
    infinite: int = 0
    has_text: bool = False
    integral: bool = True
    identifier: bool = False

    def __post_init__(self) -> None:
        self.moments = Moments()
        self.is_boolean = False

    def add(self, cells: pl.Series, weights: NDArray[np.int64] | None) -> None:
        """Take in cells, each standing for `weights` rows."""
        if cells.dtype == pl.String:
            self._add_text(cells, weights)
        else:
            self.is_boolean |= cells.dtype == pl.Boolean
            self.integral &= cells.dtype.is_integer()
            self._add_numbers(cells.cast(pl.Float64).fill_nan(None), weights)

    def _add_text(self, cells: pl.Series, weights: NDArray[np.int64] | None) -> None:
        read_numbers = self.written and not self.has_text
        found = text.numbers(cells) if read_numbers else None
        if found is None or (found.is_null() & cells.is_not_null()).any():
            cells = text.clean(cells)
            found = text.numbers(cells) if read_numbers else None
        if found is None or found.null_count() > cells.null_count():
            self.has_text |= len(cells) > cells.null_count()
            self.missing += _weight(cells.is_null(), weights)
            return
        if self.integral:
            self.integral = text.integral(cells)
            self.identifier |= self.integral and text.identifiers(cells, found)
        self._add_numbers(found, weights)

    def _add_numbers(self, found: pl.Series, weights: NDArray[np.int64] | None) -> None:
        self.missing += _weight(found.is_null(), weights)
        self.infinite += _weight(found.is_infinite().fill_null(False), weights)
        self.identifier |= bool((found.abs() > text.LARGEST_INTEGER).any()) and self.integral
        values = found.fill_null(float("nan")).to_numpy()
        finite = np.isfinite(values)
        self.moments.add(values[finite], None if weights is None else weights[finite])

    def kind(self, counted: pl.DataFrame | None) -> ColumnType:
        """Return the type of the column, now that every cell was seen."""
        if self.is_boolean:
            return "boolean"
        if counted is not None and self.written and self.has_text:
            cells = text.clean(counted["value"])
            if text.booleans(cells).null_count() == cells.null_count():
                return "boolean"
        if self.has_text or self.moments.count + self.infinite == 0 or (self.integral and self.identifier):
            return "category"
        return "integer" if self.integral else "number"


def _added_up(counts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(counts).group_by("value").agg(pl.col("count").sum())


def _weight(mask: pl.Series, weights: NDArray[np.int64] | None) -> int:
    return int(mask.sum()) if weights is None else int(weights[mask.to_numpy()].sum())


def _values(counted: pl.DataFrame, kind: ColumnType) -> list[ValueCount]:
    """Return the values in their JSON type, the most frequent first; differently written equal ones are one."""
    cells = counted["value"]
    if cells.dtype == pl.String:
        cells = text.clean(cells)
    if kind == "boolean":
        cells = text.booleans(cells) if cells.dtype == pl.String else cells
    elif kind == "category":
        cells = cells.cast(pl.String)
    else:
        cells = text.numbers(cells).cast(pl.Int64 if kind == "integer" else pl.Float64)
    merged = _added_up([counted.with_columns(value=cells)]).drop_nulls("value")
    ordered = merged.sort(["count", "value"], descending=[True, False])
    return [ValueCount(value=value, count=count) for value, count in ordered.iter_rows()]


def _listable(kind: ColumnType, values: list[ValueCount]) -> bool:
    """True where values can be classes: any but numbers with fractions."""
    return kind != "number" or all(_whole(item.value) for item in values)


def _whole(value: Value) -> bool:
    return isinstance(value, float) and value.is_integer()
