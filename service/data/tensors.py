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
        self._rows = 0
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
        elements = from_lists(cells, self._rows, self.shape) if isinstance(cells, pl.Series) else cells
        self._rows += len(cells)
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


def from_lists(cells: pl.Series, start: int = 0, expected: tuple[int, ...] | None = None) -> NDArray[np.generic]:
    """Return [rows, *shape] from a series of equally long lists or arrays of numbers.

    `start` is the number of the first row; `expected` the shape that rows before had.

    Raises:
        InvalidDataset: A cell is missing, or differs from the others in shape; the message names its row.
    """
    name, shape = cells.name, [len(cells)]
    if cells.dtype == pl.Null:
        raise invalid(_said(name, start, None, None), path=name)
    while isinstance(cells.dtype, pl.List | pl.Array):
        cells = cells.arr.to_list() if isinstance(cells.dtype, pl.Array) else cells
        lengths = cells.list.len()
        depth = len(shape) - 1
        common = expected[depth] if expected and depth < len(expected) else lengths[0]
        wrong = (lengths.ne_missing(common) | (lengths == 0)).arg_max()
        if wrong is not None and (lengths[wrong] != common or not common):
            raise invalid(_said(name, start + wrong // math.prod(shape[1:]), lengths[wrong], common), path=name)
        shape.append(int(common))
        cells = cells.explode()
    if expected is not None and len(shape) - 1 != len(expected):
        message = f"column {name!r} holds lists of {len(expected)} levels, but of {len(shape) - 1} from row {start} on"
        raise invalid(message, path=name, got=shape[1:], allowed=list(expected))
    if cells.dtype == pl.Boolean:
        cells = cells.cast(pl.UInt8)
    if not cells.dtype.is_numeric():
        raise invalid(f"the lists in column {name!r} hold {cells.dtype}, not numbers", path=name)
    if cells.null_count():
        cells = cells.cast(pl.Float64).fill_null(math.nan)
    return cells.to_numpy().reshape(shape)


def _said(name: str, row: int, length: int | None, common: int | None) -> str:
    """Say how a list is not like those before it; rows count from 0."""
    if length is None:
        return f"a list of column {name!r} is missing in row {row}; every row needs a tensor of one shape"
    if not length:
        return f"column {name!r} has an empty list in row {row}"
    return (
        f"the lists of column {name!r} are of different lengths: {length} in row {row}, {common} before; "
        "pad or cut them to one length"
    )
