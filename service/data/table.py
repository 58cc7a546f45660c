"""Collectors of a whole table, kept within one budget, and the profile they come to."""

from collections.abc import Iterable, Sequence

import polars as pl

from service.data.collector import Collector
from service.data.profile import ColumnProfile, Profile
from service.data.reader import Format, invalid

TRACKED_BUDGET = 100_000
"""Values counted at one time over all columns: what bounds the memory of a table with very many columns."""
LISTED_BUDGET = 20_000
"""Values listed over all columns: what bounds the size of a profile."""


class TableCollector:
    """Collects the profile of a table of scalar columns, block by block."""

    def __init__(self, names: Sequence[str], *, written: bool) -> None:
        self.columns = [Collector(name, written=written) for name in names]
        self.rows = 0

    def add(self, block: Iterable[pl.Series]) -> None:
        """Take in the next rows: one series a column, in the order of the names."""
        size = 0
        for column, cells in zip(self.columns, block, strict=True):
            column.add(cells)
            size = len(cells)
        self.rows += size
        self._keep_budget()

    def _keep_budget(self) -> None:
        tracked = sum(column.tracked for column in self.columns)
        for column in sorted(self.columns, key=lambda c: c.tracked, reverse=True):
            if tracked <= TRACKED_BUDGET:
                return
            tracked -= column.tracked
            column.fold()

    def finish(self) -> list[ColumnProfile]:
        """Return the profiles of the columns, in order."""
        return [column.finish() for column in self.columns]


def profile_of(rows: int, columns: Sequence[ColumnProfile], format: Format) -> Profile:
    """Return the profile of a file, with as many columns' values listed as the budget allows.

    Text comes first (one-hot encoding needs its values), then the columns with the fewest values.

    Raises:
        InvalidDataset: The file has no rows.
    """
    if not rows:
        raise invalid("the file has no rows")
    budget, listed = LISTED_BUDGET, set[str]()
    for column in sorted(columns, key=lambda c: (c.type != "category", len(c.categories or ()))):
        if column.categories is not None and len(column.categories) <= budget:
            budget -= len(column.categories)
            listed.add(column.name)
    kept = [c if c.name in listed else c.model_copy(update={"categories": None}) for c in columns]
    return Profile(rows=rows, columns=kept, format=format.value)
