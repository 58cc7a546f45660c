"""What the formats that come in a ZIP share: broken archives answered for, members that are nobody's data left out."""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def translated(what: str, allowed: str) -> Iterator[None]:
    """Turn what goes wrong inside a broken archive into an answer."""
    try:
        yield
    except _BROKEN as error:
        raise invalid(f"{what} cannot be read: {error}", allowed=allowed) from error


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
