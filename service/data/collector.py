"""One pass over a column in memory that does not grow: counts of its values while they are few, sums after."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

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
        found = None if self._counts is None else _count(cells)
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
        if self._counts:
            cells, counts = self._counted()
            self._sums.add(cells, counts)
        self._counts = None

    def _counted(self) -> tuple[pl.Series, NDArray[np.int64]]:
        """Return the counted values as cells, and in how many rows each stands."""
        assert self._counts is not None
        return pl.Series(list(self._counts), dtype=self._dtype), np.array(list(self._counts.values()), np.int64)

    def kind(self) -> ColumnType:
        """Return the type of the column, now that every row was added."""
        return self._result.kind

    def finish(self, room: int = DISTINCT_LIMIT) -> ColumnProfile:
        """Return the profile of everything that was added; values are listed when there is room for all."""
        kind, sums, values = self._result.kind, self._result.sums, self._result.values
        moments = sums.moments if kind in ("integer", "number") else Moments()
        listed = None
        if values is not None and values.height <= room and _listable(kind, values):
            listed = [ValueCount(value=value, count=count) for value, count in values.iter_rows()]
        return ColumnProfile(
            name=self.name,
            type=kind,
            missing=sums.missing,
            infinite=sums.infinite if kind == "number" else 0,
            distinct=None if values is None else values.height,
            categories=listed,
            **moments.summary(),
        )

    @cached_property
    def _result(self) -> "_Result":
        if self._counts is None:
            return _Result("boolean" if self._dtype == pl.Boolean else self._sums.kind, self._sums, None)
        cells, counts = self._counted()
        self._sums.add(cells, counts)
        kind = _kind(cells, self._sums)
        return _Result(kind, self._sums, _values(cells, counts, kind))


@dataclass(frozen=True)
class _Result:
    """What a column has come to; `values` are all it has, with their counts, None where they were not counted."""

    kind: ColumnType
    sums: Sums
    values: pl.DataFrame | None


def _count(cells: pl.Series) -> dict[Value | None, int] | None:
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
    if cells.dtype == pl.String and any(isinstance(word, str) and len(word) > LONGEST_VALUE for word in counts):
        return None
    return counts


def _kind(cells: pl.Series, sums: Sums) -> ColumnType:
    """Return the type of a column whose values are all known."""
    if cells.dtype == pl.String and sums.written and sums.has_text:
        words = text.clean(cells)
        return "boolean" if text.booleans(words).null_count() == words.null_count() else "category"
    return "boolean" if cells.dtype == pl.Boolean else sums.kind


def _values(cells: pl.Series, counts: NDArray[np.int64], kind: ColumnType) -> pl.DataFrame:
    """Return the values in their JSON type, the most frequent first; equal ones written differently are one."""
    if cells.dtype == pl.String:
        cells = text.clean(cells)
    if kind == "boolean":
        cells = text.booleans(cells) if cells.dtype == pl.String else cells
    elif kind == "category":
        cells = cells.cast(pl.String)
    else:
        cells = text.numbers(cells).cast(pl.Int64 if kind == "integer" else pl.Float64)
    counted = pl.DataFrame({"value": cells, "count": counts}).drop_nulls("value")
    return counted.group_by("value").agg(pl.col("count").sum()).sort(["count", "value"], descending=[True, False])


def _listable(kind: ColumnType, values: pl.DataFrame) -> bool:
    """Tell whether values can be classes: any but numbers with fractions, and infinite ones."""
    if kind != "number":
        return True
    numbers = values["value"].to_numpy()
    return bool((np.isfinite(numbers) & (numbers == np.trunc(numbers))).all())
