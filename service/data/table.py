"""The collectors of a whole table, kept within one budget of memory, and the profile they come to."""

from collections.abc import Iterable

import polars as pl

from service.data.collector import Collector
from service.data.profile import ColumnProfile, Profile
from service.data.reader import Format, invalid
from service.data.tensors import TensorCollector

TRACKED_BUDGET = 100_000
"""Values counted at one time over all columns: what bounds the memory of a table with very many columns."""
LISTED_BUDGET = 20_000
"""Values listed over all columns: what bounds the size of a profile."""


class TableCollector:
    """Collects the profile of a table: the columns block by block, or one whole column after the other."""

    def __init__(self, columns: Iterable[Collector | TensorCollector] = ()) -> None:
        self.columns = list(columns)

    def add(self, block: Iterable[pl.Series]) -> None:
        """Take in the next rows: one series a column, in the order of the columns."""
        for column, cells in zip(self.columns, block, strict=True):
            column.add(cells)
        self._keep_budget()

    def append(self, column: Collector | TensorCollector) -> None:
        """Take in a column that has seen all its rows."""
        self.columns.append(column)
        self._keep_budget()

    def _keep_budget(self) -> None:
        tracked = sum(column.tracked for column in self.columns)
        for column in sorted(self.columns, key=lambda c: c.tracked, reverse=True):
            if tracked <= TRACKED_BUDGET:
                return
            tracked -= column.tracked
            column.fold()

    def finish(self, rows: int, format: Format) -> Profile:
        """Return the profile of a file, with as many columns' values listed as the budget allows.

        Text comes first (one-hot encoding needs its values), then the columns with the fewest values.

        Raises:
            InvalidDataset: The file has no rows.
        """
        if not rows:
            raise invalid("the file has no rows")
        if not self.columns:
            raise invalid("the rows have no columns")
        budget, profiles = LISTED_BUDGET, dict[int, ColumnProfile]()
        places = range(len(self.columns))
        for i in sorted(places, key=lambda i: (self.columns[i].kind() != "category", self.columns[i].tracked)):
            profiles[i] = self.columns[i].finish(budget)
            budget -= len(profiles[i].categories or ())
        return Profile(rows=rows, columns=[profiles[i] for i in places], format=format.value)
