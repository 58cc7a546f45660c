"""What the formats that come in a ZIP share: broken archives answered for, members that are nobody's data left out."""

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from service.data.reader import invalid

PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
    "t10k": "test",
}
"""Names, in small letters, by which archives set rows for training, validation and test apart."""

_BROKEN = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError, RuntimeError,
    NotImplementedError, OSError,
)  # fmt: skip
_ENCRYPTED = 0x1

MAX_DIRECTORY = 64 << 20
"""Bytes of an archive's list of members: many hundred thousand names."""
_END = struct.Struct("<4s4H2LH")
_END_MARK = b"PK\x05\x06"
_END64 = struct.Struct("<4sQ2H2L4Q20x")  # and the 20 bytes of the locator that stands between it and the last record
_LOCATOR_SIZE = 20
_LOCATOR_MARK = b"PK\x06\x07"
_TAIL = (1 << 16) + _END.size + _END64.size


@contextmanager
def translated(what: str, allowed: str) -> Iterator[None]:
    """Turn what goes wrong inside a broken archive into an answer."""
    try:
        yield
    except _BROKEN as error:
        raise invalid(f"{what} cannot be read: {error}", allowed=allowed) from error


@contextmanager
def unzipped(file: Path | BinaryIO, allowed: str) -> Iterator[zipfile.ZipFile]:
    """Open an archive; what goes wrong while it is open is answered for.

    Raises:
        InvalidDataset: It is broken, or lists more members than fit into memory.
    """
    with translated("the archive", allowed), _at_start(file) as opened:
        size = _directory_size(opened)
        if size > MAX_DIRECTORY:
            message = f"the archive's list of members takes {size} bytes; at most {MAX_DIRECTORY} are read"
            raise invalid(message, got=size, allowed=MAX_DIRECTORY)
        with zipfile.ZipFile(opened) as archive:
            yield archive


def _at_start(file: Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    return file.open("rb") if isinstance(file, Path) else nullcontext(file)


def _directory_size(file: BinaryIO) -> int:
    """Return how many bytes the list of members takes, which is read whole when an archive is opened.

    It is written behind the list, in a record that only a comment may follow; in large archives in another one before.
    """
    file.seek(-min(file.seek(0, io.SEEK_END), _TAIL), io.SEEK_END)
    tail = file.read()
    last = tail[-_END.size :]
    place = len(tail) - len(last) if last.startswith(_END_MARK) and last.endswith(b"\0\0") else tail.rfind(_END_MARK)
    if place < 0 or len(tail) - place < _END.size:
        return 0
    size = int(_END.unpack_from(tail, place)[5])
    if place >= _END64.size and tail.startswith(_LOCATOR_MARK, place - _LOCATOR_SIZE):
        return int(_END64.unpack_from(tail, place - _END64.size)[8])
    return size


def files_of(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members that hold data: no folders, and nothing that file managers leave behind.

    Raises:
        InvalidDataset: A member is encrypted.
    """
    members = [info for info in archive.infolist() if not info.is_dir() and not _is_litter(info.filename)]
    for info in members:
        if info.flag_bits & _ENCRYPTED:
            raise invalid(f"{info.filename!r} is encrypted", path=info.filename)
    return members


def steps_of(info: zipfile.ZipInfo) -> list[str]:
    """Return the folders and the name of a member; some programs of Windows write backslashes."""
    return [step for step in info.filename.replace("\\", "/").split("/") if step not in ("", ".")]


def _is_litter(filename: str) -> bool:
    steps = filename.replace("\\", "/").split("/")
    hidden = any(step.startswith(".") and step != "." for step in steps)
    return hidden or "__MACOSX" in steps or steps[-1].lower() in ("", "thumbs.db", "desktop.ini")
