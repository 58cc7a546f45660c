"""What a file format provides, and how a source of bytes is opened for it."""

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Self, cast

from service.data.frame import Frame
from service.data.profile import ColumnProfile, Profile
from service.errors import InvalidDataset, Problem, TooLarge
from service.settings import Settings


class Format(StrEnum):
    """The file formats that can be uploaded."""

    CSV = "csv"
    PARQUET = "parquet"
    NPZ = "npz"
    JSON = "json"
    IMAGES = "images"
    IDX = "idx"


@dataclass(frozen=True)
class Limits:
    """How large a file may be once it is unpacked."""

    max_columns: int
    max_unpacked_bytes: int
    max_json_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the limits that the settings ask for."""
        return cls(settings.max_columns, settings.max_unpacked_bytes, settings.max_json_bytes)

    def check_columns(self, count: int) -> None:
        """Refuse a file with too many columns.

        Raises:
            TooLarge: There are more columns than allowed.
        """
        if count > self.max_columns:
            raise TooLarge(f"the file has {count} columns; at most {self.max_columns} are allowed")

    def check_unpacked(self, size: int, what: str = "the file") -> None:
        """Refuse a file that takes too much space once it is unpacked.

        Raises:
            TooLarge: It unpacks to more bytes than allowed.
        """
        if size > self.max_unpacked_bytes:
            raise TooLarge(f"{what} unpacks to {size} bytes; at most {self.max_unpacked_bytes} are allowed")


@dataclass(frozen=True)
class Reader:
    """One file format: how it is profiled and how columns are read from it.

    `read` gets the file, all columns of its profile, those wanted, and how many rows to stop after; `batches` gives the
    same rows in frames of at most so many, without holding the others.
    """

    profile: Callable[[Path, Limits], Profile]
    read: Callable[[BinaryIO, list[ColumnProfile], list[ColumnProfile], int | None], Frame]
    batches: Callable[[BinaryIO, list[ColumnProfile], list[ColumnProfile], int], Iterator[Frame]]
    needs_seek: bool = True


def invalid(message: str, path: str = "", got: object = None, allowed: object = None) -> InvalidDataset:
    """Return the error for a file that cannot be read; `path` names the column, if it is one."""
    return InvalidDataset([Problem(path, message, got, allowed)])


def check_names(names: list[str]) -> None:
    """Refuse columns without a name, and names that stand twice.

    Raises:
        InvalidDataset: With every such column.
    """
    problems = [Problem(f"columns[{i}]", "the column has no name") for i, name in enumerate(names) if not name]
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        if name and first.setdefault(name, i) != i:
            message = f"the name {name!r} stands twice, in columns {first[name] + 1} and {i + 1}"
            problems.append(Problem(f"columns[{i}]", message, got=name))
    problems += [
        Problem(f"columns[{i}]", "the name holds a NUL character or is longer than 500 characters", got=name[:50])
        for i, name in enumerate(names)
        if "\x00" in name or len(name) > 500
    ]
    if problems:
        raise InvalidDataset(problems)


@contextmanager
def opened(source: Path | Iterable[bytes], *, seekable: bool) -> Iterator[BinaryIO]:
    """Open a file or pieces of bytes; pieces go through a temporary file where the format jumps about."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
    elif not seekable:
        yield cast(BinaryIO, io.BufferedReader(_Pieces(iter(source)), buffer_size=1 << 20))
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.writelines(source)
            file.flush()  # some formats open it once more, by its name
            file.seek(0)
            yield cast(BinaryIO, file)


class _Pieces(io.RawIOBase):
    """A raw stream over pieces of bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # readers in io give no other buffer
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
