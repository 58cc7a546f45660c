"""A table in memory: named columns of equal length, and what is known of a column before its rows are read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["number", "category", "tensor"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    `kind` "number": float64 [rows], NaN where missing. "category": object [rows] of str, None where
    missing. "tensor": [rows, *shape] in the dtype of the file; images as they were uploaded.
    `indicator` marks numbers that are 0/1 codes of something else (one-hot), which are not scaled.
    """

    kind: Kind
    values: NDArray[Any]
    indicator: bool = False


Frame = dict[str, Column]
"""Columns by name, in order."""

Frames = Iterable[Frame]
"""The rows of a data set in frames, none without rows; they can be gone over as often as it takes."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What is known of a column without its rows.

    `missing` is how many rows (of a tensor: elements) lack a value. `counts` are all the values the data set has,
    sorted, each with its number of rows (str for categories, float for numbers); None when there are too many.
    `vocabulary` is how many token ids a column of them has.
    """

    kind: Kind
    shape: tuple[int, ...] = ()
    missing: int = 0
    counts: tuple[tuple[str | float, int], ...] | None = None
    indicator: bool = False
    vocabulary: int | None = None


Facts = dict[str, Fact]
"""Facts by column name, in order: the frame that the steps of preprocessing will see."""


def rows_of(frame: Frame) -> int:
    """Return the number of rows."""
    return len(next(iter(frame.values())).values) if frame else 0


def take(frame: Frame, index: NDArray[np.int64]) -> Frame:
    """Return the rows at `index`."""
    return {name: Column(c.kind, c.values[index], c.indicator) for name, c in frame.items()}
