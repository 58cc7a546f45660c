"""Running statistics of the columns of a data set that comes in frames: in memory that does not grow with its rows.

A data set that fits into memory goes the same way, frame by frame, so that the same numbers come out to the bit.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.data.frame import Column, Frames
from service.errors import InvalidInput, Problem

PIECE = 1 << 18
"""Elements that are converted at one time, so that a data set of images is never held in float64."""

Floats = NDArray[np.float64]
Shaped = Callable[[Column], NDArray[np.generic]]
"""The values of a column as [rows, channels, places]."""


@dataclass
class Statistics:
    """Running statistics of each channel, [channels], without missing values."""

    count: Floats
    mean: Floats
    squares: Floats
    low: Floats
    high: Floats

    @classmethod
    def empty(cls, channels: int) -> "Statistics":
        """Return those of no values."""
        none, far = np.zeros(channels), np.full(channels, np.inf)
        return cls(none, none.copy(), none.copy(), far, -far)

    @property
    def std(self) -> Floats:
        """Population deviation."""
        return np.sqrt(self.squares / self.count)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Where all numbers are the same: rounding may give them a deviation, but there is none."""
        same: NDArray[np.bool_] = self.low == self.high
        return same

    @property
    def center(self) -> Floats:
        """The mean; of channels that are constant their one number, which rounding may have missed."""
        return np.where(self.constant, self.low, self.mean)

    def add(self, values: NDArray[np.generic]) -> None:
        """Take in values [rows, channels, places], piece by piece (Chan, Golub, LeVeque 1979)."""
        # Infinite numbers are for the caller to refuse, and so are those whose squares overflow, by their deviation.
        with np.errstate(over="ignore", invalid="ignore"):
            for piece in pieces_of(values):
                self._add(values[piece].astype(np.float64))

    def _add(self, piece: Floats) -> None:
        known = ~np.isnan(piece)
        count = known.sum((0, 2))
        if known.all():
            # What is mostly so is quicker without asking each number.
            mean = piece.sum((0, 2)) / count
            squares = np.square(piece - mean[:, None]).sum((0, 2))
            low, high = piece.min((0, 2)), piece.max((0, 2))
        else:
            mean = np.where(known, piece, 0.0).sum((0, 2)) / np.maximum(count, 1)
            squares = (np.where(known, piece - mean[:, None], 0.0) ** 2).sum((0, 2))
            low, high = np.where(known, piece, np.inf).min((0, 2)), np.where(known, piece, -np.inf).max((0, 2))
        total = self.count + count
        step = np.where(count > 0, mean - self.mean, 0.0)
        self.squares += squares + step**2 * (self.count * count / np.maximum(total, 1))
        self.mean += step * (count / np.maximum(total, 1))
        self.count = total
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)

    def result(self) -> "Statistics":
        """Return the statistics."""
        return self


class WholeStatistics:
    """The same of small whole numbers: their sums are exact, and quicker."""

    def __init__(self, channels: int) -> None:
        self._count = 0
        self._sums, self._squares = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
        far = np.full(channels, np.inf)
        self._low, self._high = far, -far

    def add(self, values: NDArray[np.generic]) -> None:
        """Take in values [rows, channels, places], piece by piece."""
        self._count += values.shape[0] * values.shape[2]
        for piece in pieces_of(values):
            # Of so few small numbers float64 has every sum. One axis after the other: both at once are 18 times as slow
            # where channels lie innermost.
            small = values[piece]
            numbers = small.astype(np.float64)
            self._sums += numbers.sum(0).sum(1).astype(np.int64)
            self._squares += np.square(numbers, out=numbers).sum(0).sum(1).astype(np.int64)
            self._low = np.minimum(self._low, small.min(0).min(1))
            self._high = np.maximum(self._high, small.max(0).max(1))

    def result(self) -> Statistics:
        """Return the statistics."""
        count, sums = self._count, self._sums.tolist()
        squares = [(count * q - s * s) / count for q, s in zip(self._squares.tolist(), sums, strict=True)]
        mean = np.array([s / count for s in sums])
        return Statistics(np.full(len(sums), float(count)), mean, np.array(squares), self._low, self._high)


def pieces_of(values: NDArray[np.generic]) -> Iterator[slice]:
    """Yield slices of rows that are converted at one time."""
    step = max(1, PIECE // max(1, values[:1].size))
    return (slice(start, start + step) for start in range(0, len(values), step))


def by_channel(column: Column) -> NDArray[np.generic]:
    """Return [rows, channels, places]: channels are the second axis, or the column itself where there is none."""
    values = column.values
    return values.reshape(len(values), *(values.shape[1:2] or (1,)), -1)


def by_element(column: Column) -> NDArray[np.generic]:
    """Return [rows, elements, 1]."""
    return column.values.reshape(len(column.values), -1, 1)


def statistics_of(frames: Frames, names: Sequence[str], shaped: Shaped = by_channel) -> dict[str, Statistics]:
    """Return the statistics of columns, by name; the frames are gone over once.

    Raises:
        InvalidInput: A column has no values, or infinite ones.
    """
    running: dict[str, Statistics | WholeStatistics] = {}
    for frame in frames if names else ():
        for name in names:
            values = shaped(frame[name])
            if name not in running:
                small = values.dtype.kind in "iu" and values.dtype.itemsize <= 2
                running[name] = (WholeStatistics if small else Statistics.empty)(values.shape[1])
            running[name].add(values)
    found = {name: running[name].result() if name in running else None for name in names}
    return {name: _checked(name, known) for name, known in found.items()}


def _checked(name: str, found: Statistics | None) -> Statistics:
    if found is None or not found.count.all():
        raise InvalidInput([Problem("", f"column {name!r} has no values in the training rows", got=name)])
    if not (np.isfinite(found.low).all() and np.isfinite(found.high).all()):
        raise InvalidInput([Problem("", f"column {name!r} holds infinite values", got=name)])
    return found
