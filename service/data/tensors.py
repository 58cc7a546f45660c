"""Columns whose cells are arrays: their profile, and arrays out of nested lists."""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.data.moments import Moments
from service.data.profile import ColumnProfile, ColumnType
from service.data.reader import invalid


class TensorCollector:
    """Collects the profile of a tensor column, block by block of rows."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype
        self._moments = Moments()
        self._missing = self._infinite = 0

    tracked = 0
    """Values held: none, unlike a `Collector` does."""

    def fold(self) -> None:
        """There is nothing to fold."""

    def kind(self) -> ColumnType:
        """Return the type of the column."""
        return "tensor"

    def add(self, cells: NDArray[np.generic] | pl.Series) -> None:
        """Take in elements in any order and shape, or lists of the shape of the column."""
        elements = from_lists(cells) if isinstance(cells, pl.Series) else cells
        if isinstance(cells, pl.Series) and elements.shape[1:] != self.shape:
            raise invalid(f"the lists in column {self.name!r} differ in shape", path=self.name)
        values = elements.astype(np.float64).ravel()
        finite = np.isfinite(values)
        if not finite.all():
            self._missing += int(np.isnan(values).sum())
            self._infinite += int(np.isinf(values).sum())
            values = values[finite]
        self._moments.add(values)

    def finish(self, room: int = 0) -> ColumnProfile:
        """Return the profile of everything that was added; there are no values to list."""
        return ColumnProfile(
            name=self.name,
            type="tensor",
            missing=self._missing,
            infinite=self._infinite,
            shape=self.shape,
            dtype=self.dtype,
            **self._moments.summary(),
        )


def from_lists(cells: pl.Series) -> NDArray[np.generic]:
    """Return [rows, *shape] from a series of equally long lists or arrays of numbers.

    Raises:
        InvalidDataset: A cell is missing, or differs from the others in shape.
    """
    name, shape = cells.name, [len(cells)]
    while isinstance(cells.dtype, pl.List | pl.Array):
        cells = cells.arr.to_list() if isinstance(cells.dtype, pl.Array) else cells
        lengths = cells.list.len().unique()
        if cells.null_count() or len(lengths) != 1 or not lengths[0]:
            raise invalid(f"the lists in column {name!r} are missing, empty or of different lengths", path=name)
        shape.append(int(lengths[0]))
        cells = cells.explode()
    if cells.dtype == pl.Boolean:
        cells = cells.cast(pl.UInt8)
    if not cells.dtype.is_numeric():
        raise invalid(f"the lists in column {name!r} hold {cells.dtype}, not numbers", path=name)
    if cells.null_count():
        cells = cells.cast(pl.Float64).fill_null(math.nan)
    return cells.to_numpy().reshape(shape)
