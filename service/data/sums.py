"""Running sums over the cells of a column, and whether they still all read as numbers."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.data import text
from service.data.moments import Moments
from service.data.profile import ColumnType

Weights = NDArray[np.int64] | None


@dataclass
class Sums:
    """What has been seen of a column; `written` text is read for numbers.

    Works with whole arrays and as few calls of polars as can be: a wide table has very many columns.
    """

    written: bool
    missing: int = 0
    infinite: int = 0
    has_text: bool = False
    whole: bool = True
    leading_zero: bool = False
    moments: Moments = field(default_factory=Moments)

    def add(self, cells: pl.Series, weights: Weights = None) -> None:
        """Take in cells, each standing for `weights` rows."""
        if cells.dtype == pl.String:
            self._add_text(cells, weights)
        else:
            self.whole &= cells.dtype.is_integer()
            self._add_numbers(cells.cast(pl.Float64), weights)

    def _add_text(self, cells: pl.Series, weights: Weights) -> None:
        if not self.has_text and self.written:
            found = text.numbers(cells)
            if found.null_count() > cells.null_count():
                cells = text.clean(cells)
                found = text.numbers(cells)
            if found.null_count() == cells.null_count():
                self._look_at_digits(cells, found)
                self._add_numbers(found, weights)
                return
        cells = text.clean(cells)
        self.has_text |= cells.null_count() < len(cells)
        self.missing += _weight(cells.is_null().to_numpy(), weights)

    def _look_at_digits(self, cells: pl.Series, found: pl.Series) -> None:
        if self.whole:
            self.whole, leading_zero = text.whole_numbers(cells, found)
            self.leading_zero |= leading_zero

    def _add_numbers(self, found: pl.Series, weights: Weights) -> None:
        values = found.to_numpy()
        finite = np.isfinite(values)
        if not finite.all():
            self.missing += _weight(np.isnan(values), weights)
            self.infinite += _weight(np.isinf(values), weights)
            values, weights = values[finite], weights if weights is None else weights[finite]
        self.moments.add(values, weights)

    @property
    def kind(self) -> ColumnType:
        """The type of the column, if it has seen every cell."""
        if self.has_text or self.moments.count + self.infinite == 0:
            return "category"
        if not self.whole:
            return "number"
        beyond = max(self.moments.max, -self.moments.min) > text.LARGEST_INTEGER
        return "category" if self.leading_zero or beyond else "integer"


def _weight(mask: NDArray[np.bool_], weights: Weights) -> int:
    return int(mask.sum() if weights is None else weights[mask].sum())
