"""The rows of a data set in frames, gone over as often as preprocessing takes, in memory that does not grow."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.data.frame import Frame, Frames, rows_of, take
from service.data.text import joined

FRAME_BYTES = 4 * 1024 * 1024
"""What a frame takes, about; steps of preprocessing hold it a few times."""
MOST_ROWS = 65_536
CELL_BYTES = 8
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """Rows that can be read again and again; `read` yields the columns of these names frame by frame.

    The frames are cut at the same rows each time, whatever the columns, so that sums over them have the same bits.
    """

    rows: int
    read: Callable[[Sequence[str]], Iterator[Frame]]

    def frames(self, names: Sequence[str]) -> Frames:
        """Return some columns of all rows."""
        return _Again(lambda: self.read(names))

    def numbered(self, names: Sequence[str]) -> Iterator[tuple[int, Frame]]:
        """Yield frames, each with the number of its first row."""
        start = 0
        for frame in self.read(names):
            yield start, frame
            start += rows_of(frame)

    def some(self, names: Sequence[str], index: Index) -> Frames:
        """Return some columns of the rows at `index`, which is ascending; frames without any are left out."""

        def chosen() -> Iterator[Frame]:
            for start, frame in self.numbered(names):
                low, high = np.searchsorted(index, [start, start + rows_of(frame)])
                if low < high:
                    yield take(frame, index[low:high] - start)

        return _Again(chosen)

    def whole(self, names: Sequence[str]) -> Frame:
        """Return some columns of all rows in one frame."""
        if not names:
            return {}
        parts = list(self.read(names))
        return {name: joined([part[name] for part in parts]) for name in names}


class _Again:
    """An iterable of frames that begins anew each time."""

    def __init__(self, begin: Callable[[], Iterator[Frame]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[Frame]:
        return self._begin()


def of_frame(frame: Frame) -> Source:
    """Return rows that are in memory."""
    return Source(rows_of(frame), lambda names: iter([{name: frame[name] for name in names}]))
