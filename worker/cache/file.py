"""A file of arrays: written once from front to back, verified when it is opened, mapped.

    arrays, each from a page's begin on | JSON: where they are, what else is known | its length | SHA-256 of all that

Whatever ends the writing, the hash at the end is what tells a whole file from a part of one.
"""

import hashlib
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from worker.cache.mapped import PAGE, Mapped

__all__ = ["PAGE", "Contents", "Damaged", "Writer", "check", "read"]

MAGIC = b"trainyard rows 1"
LENGTH = struct.Struct("<Q")
PIECE = 4 * 1024 * 1024
TAIL = LENGTH.size + len(MAGIC) + hashlib.sha256().digest_size
Array = NDArray[Any]


class Damaged(Exception):
    """A file is not what was written."""


@dataclass(frozen=True)
class Contents:
    """The arrays of a file, and what was written beside them."""

    arrays: dict[str, Mapped]
    known: dict[str, Any]


class Writer:
    """Writes a file; `between` is called now and then, and may raise."""

    def __init__(self, file: IO[bytes], between: Callable[[], None]) -> None:
        self._file, self._between = file, between
        self._hash, self._size = hashlib.sha256(), 0
        self._places: dict[str, dict[str, Any]] = {}

    def put(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[Array]) -> Array:
        """Append an array that comes in parts, and return it, mapped."""
        self._write(b"\0" * (-self._size % PAGE))
        start = self._size
        for part in parts:
            self._between()
            self._write(np.ascontiguousarray(part, dtype).reshape(-1).view(np.uint8).data)
        self._places[name] = {"start": start, "shape": list(shape), "dtype": dtype.name}
        self._file.flush()
        return Mapped(_mapping(self._file), start, shape, dtype).values

    def finish(self, known: dict[str, Any]) -> None:
        """Write what else is known, JSON values, and the end."""
        head = orjson.dumps({"arrays": self._places, "known": known})
        self._write(head + LENGTH.pack(len(head)) + MAGIC)
        self._file.write(self._hash.digest())
        self._file.flush()
        # Room was taken before it was known to the byte how much is needed.
        self._file.truncate(self._size + self._hash.digest_size)

    def _write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)


def read(file: IO[bytes]) -> Contents:
    """Map the arrays of a file that `check` has seen. The mapping holds the file, and a lock that is on it.

    Raises:
        Damaged: It is too short to be one.
    """
    size = os.fstat(file.fileno()).st_size
    if size < TAIL:
        raise Damaged(f"it has {size} bytes")
    file.seek(-TAIL, os.SEEK_END)
    tail = file.read(TAIL)
    (length,) = LENGTH.unpack_from(tail)
    if tail[LENGTH.size :][: len(MAGIC)] != MAGIC or length > size - TAIL:
        raise Damaged("it does not end as such a file does")
    file.seek(-TAIL - length, os.SEEK_END)
    head, mapping = orjson.loads(file.read(length)), _mapping(file)
    mapping.madvise(mmap.MADV_RANDOM)
    arrays = {
        name: Mapped(mapping, place["start"], tuple(place["shape"]), np.dtype(place["dtype"]))
        for name, place in head["arrays"].items()
    }
    return Contents(arrays, head["known"])


def check(file: IO[bytes], between: Callable[[], None]) -> None:
    """See that a file has the hash that is at its end.

    Raises:
        Damaged: It has another one.
    """
    found, left = hashlib.sha256(), os.fstat(file.fileno()).st_size - hashlib.sha256().digest_size
    file.seek(0)
    for piece in _pieces(file, left):
        between()
        found.update(piece)
    if left < 0 or file.read() != found.digest():
        raise Damaged("its SHA-256 is another one than when it was written")


def _pieces(file: IO[bytes], left: int) -> Iterator[bytes]:
    while left > 0 and (piece := file.read(min(PIECE, left))):
        left -= len(piece)
        yield piece


def _mapping(file: IO[bytes]) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
