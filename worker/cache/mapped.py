"""Rows of a file that is mapped into memory: gathered by number, never held."""

import math
import mmap
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PAGE = mmap.PAGESIZE
Index = NDArray[np.int64]


class Mapped:
    """An array [rows, ...] that lies in a mapped file from `start` on.

    Rows are read in any order, so the system is told not to read what lies around them, and which pages will be needed
    before they are: it then reads many at the same time. Read one by one as they are touched, from a disk, they take
    ten times as long.
    """

    def __init__(self, mapping: mmap.mmap, start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self._mapping, self._start = shape, mapping, start
        whole = np.frombuffer(mapping, dtype, int(np.prod(shape)), start)
        self.values: NDArray[Any] = whole.reshape(shape)
        """The array itself, read-only."""
        self.dtype = torch.from_numpy(np.empty(0, dtype)).dtype
        self.row_bytes = dtype.itemsize * int(np.prod(shape[1:]))

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self.shape[0]

    def take(self, index: Tensor, pinned: bool = False) -> Tensor:
        """Return the rows at `index`, [len(index), ...], in memory of their own; `pinned`: for a GPU to read from."""
        rows = index.numpy()
        self._announce(rows)
        shape = (len(rows), *self.shape[1:])
        found = torch.empty(shape, dtype=self.dtype, pin_memory=True) if pinned else self._room(shape)
        # Out of range cannot be; asking numpy to look would have it gather into memory of its own first.
        np.take(self.values, rows, axis=0, out=found.numpy(), mode="clip")
        return found

    def _room(self, shape: tuple[int, ...]) -> Tensor:
        """Return memory that goes back to the system when it is let go, which that of the allocator may not do."""
        size = max(1, shape[0] * self.row_bytes)
        return torch.frombuffer(mmap.mmap(-1, size), dtype=self.dtype)[: math.prod(shape)].view(shape)

    def _announce(self, rows: Index) -> None:
        """Have the system read the pages of these rows."""
        if not len(rows):
            return
        ordered = np.sort(rows) * self.row_bytes + self._start
        first, last = ordered // PAGE, (ordered + max(self.row_bytes, 1) - 1) // PAGE
        gaps = np.flatnonzero(first[1:] > last[:-1] + 1) + 1
        begins = first[np.concatenate([[0], gaps])] * PAGE
        ends = (last[np.concatenate([gaps - 1, [len(last) - 1]])] + 1) * PAGE
        size = len(self._mapping)
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            self._mapping.madvise(mmap.MADV_WILLNEED, begin, min(end, size) - begin)
