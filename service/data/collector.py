"""One pass over a column in memory that does not grow: counts of its values while they are few, sums after."""

from collections import Counter

import numpy as np
import polars as pl

from service.data import text
from service.data.moments import Moments
from service.data.profile import ColumnProfile, ColumnType, Value, ValueCount
from service.data.sums import Sums

DISTINCT_LIMIT = 10_000
"""Different values up to which a column's values are counted, one by one."""
LONGEST_VALUE = 256
"""Text longer than this is prose: its column's values are not counted."""
FEW_ROWS = 5_000
"""Up to here counting in Python is faster than starting polars."""


class Collector:
    """Collects what there is to know of one column.

    While a column has few different values, only these are counted, and everything is worked out from
    them at the end. When they become too many they are folded into running sums, and so is all that
    follows. Both ways go through the same `Sums`, so that it makes no difference to the result.

    `written` columns hold text in which numbers are to be found (CSV); other text is text (JSON, Parquet).
    """

    def __init__(self, name: str, *, written: bool) -> None:
        self.name = name
        self._dtype: pl.DataType = pl.String()
        self._sums = Sums(written)
        self._counts: Counter[Value | None] | None = Counter()

    @property
    def tracked(self) -> int:
        """How many different values are held."""
        return len(self._counts or ())

    def add(self, cells: pl.Series) -> None:
        """Take in the next rows, of text, numbers or booleans; all blocks of a column have one type."""
        self._dtype = cells.dtype
        found = None if self._counts is None else _counted(cells)
        if self._counts is None or found is None:
            self.fold()
            self._sums.add(cells)
            return
        # dict.update would replace the counts; Counter's adds them up.
        self._counts.update(found)
        # One more: missing is held as a value here, but is none of the column's.
        if len(self._counts) > DISTINCT_LIMIT + 1:
            self.fold()

    def fold(self) -> None:
        """Stop counting values: add those that were counted to the running sums."""
        self._sum_up()
        self._counts = None

    def _sum_up(self) -> pl.DataFrame | None:
        if not self._counts:
            return None
        schema = {"value": self._dtype, "count": pl.Int64}
        counted = pl.DataFrame([list(self._counts.keys()), list(self._counts.values())], schema=schema)
        self._sums.add(counted["value"], counted["count"].to_numpy())
        return counted

    def finish(self) -> ColumnProfile:
        """Return the profile of everything that was added."""
        counted = self._sum_up()
        kind = self._kind(counted)
        values = None if counted is None else _values(counted, kind)
        moments = self._sums.moments if kind in ("integer", "number") else Moments()
        return ColumnProfile(
            name=self.name,
            type=kind,
            missing=self._sums.missing,
            infinite=self._sums.infinite if kind == "number" else 0,
            distinct=None if values is None else len(values),
            categories=values if values is not None and _listable(kind, values) else None,
            **moments.summary(),
        )

    def _kind(self, counted: pl.DataFrame | None) -> ColumnType:
        if self._dtype == pl.Boolean:
            return "boolean"
        if counted is not None and self._sums.written and self._sums.has_text:
            cells = text.clean(counted["value"])
            if text.booleans(cells).null_count() == cells.null_count():
                return "boolean"
        return self._sums.kind


def _counted(cells: pl.Series) -> dict[Value | None, int] | None:
    """Return how often each value stands in a block, None where they are too many or too long to be counted."""
    if cells.dtype.is_float():
        cells = cells.fill_nan(None)
    if len(cells) <= FEW_ROWS:
        counts: dict[Value | None, int] = Counter(cells.to_list())
    else:
        found = cells.alias("value").value_counts(name="count")
        if found.height > DISTINCT_LIMIT + 1:
            return None
        counts = dict(zip(found["value"].to_list(), found["count"].to_list(), strict=True))
    if cells.dtype == pl.String and any(word and len(word) > LONGEST_VALUE for word in counts):  # type: ignore[arg-type]
        return None
    return counts


def _values(counted: pl.DataFrame, kind: ColumnType) -> list[ValueCount]:
    """Return the values in their JSON type, the most frequent first; equal ones that are written differently are one."""
    cells = counted["value"]
    if cells.dtype == pl.String:
        cells = text.clean(cells)
    if kind == "boolean":
        cells = text.booleans(cells) if cells.dtype == pl.String else cells
    elif kind == "category":
        cells = cells.cast(pl.String)
    else:
        cells = text.numbers(cells).cast(pl.Int64 if kind == "integer" else pl.Float64)
    merged = counted.with_columns(value=cells).drop_nulls("value").group_by("value").agg(pl.col("count").sum())
    ordered = merged.sort(["count", "value"], descending=[True, False])
    return [ValueCount(value=value, count=count) for value, count in ordered.iter_rows()]


def _listable(kind: ColumnType, values: list[ValueCount]) -> bool:
    """Tell whether values can be classes: any but numbers with fractions."""
    return kind != "number" or all(np.mod(item.value, 1) == 0 for item in values)
