"""File formats: telling which one a file has, profiling it in constant memory, reading columns of it."""

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from service.data import csv, idx, images, json_rows, npz, parquet
from service.data.frame import Frame
from service.data.images import ImageOptions
from service.data.profile import ColumnProfile, Profile
from service.data.reader import Format, Limits, Reader, opened
from service.errors import UnsupportedMediaType

__all__ = [
    "MEDIA_TYPES",
    "Format",
    "ImageOptions",
    "Limits",
    "contents_sha256",
    "profile_file",
    "read_batches",
    "read_frame",
    "sniff",
]

MEDIA_TYPES: dict[str, Format] = {
    "text/csv": Format.CSV,
    "application/csv": Format.CSV,
    "text/tab-separated-values": Format.CSV,
    "application/vnd.apache.parquet": Format.PARQUET,
    "application/x-parquet": Format.PARQUET,
    "application/parquet": Format.PARQUET,
    "application/x-npz": Format.NPZ,
    "application/json": Format.JSON,
    "application/x-ndjson": Format.JSON,
    "application/jsonl": Format.JSON,
    "application/x-idx": Format.IDX,
}
"""Media types that say what a file is. Types that say nothing are resolved by file name and first bytes."""

ZIP = "application/zip"
"""What says only how a file is packed: it may be NPZ, IDX or images."""

_SAYS_NOTHING = {
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "application/x-www-form-urlencoded",
    "text/plain",
    ZIP,
    "application/x-zip-compressed",
    "application/gzip",
    "application/x-gzip",
    "application/vnd.ms-excel",
}
_SUFFIXES = {
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".txt": Format.CSV,
    ".parquet": Format.PARQUET,
    ".npz": Format.NPZ,
    ".json": Format.JSON,
    ".jsonl": Format.JSON,
    ".ndjson": Format.JSON,
}
_READERS: dict[Format, Reader] = {
    Format.CSV: csv.READER,
    Format.PARQUET: parquet.READER,
    Format.NPZ: npz.READER,
    Format.JSON: json_rows.READER,
    Format.IMAGES: images.READER,
    Format.IDX: idx.READER,
}
_MEMBER = re.compile(rb"PK\x03\x04.{22}(..)..", re.DOTALL)
"""Head of a file within a ZIP, up to its name; the length of the name is in it."""


def sniff(content_type: str | None, filename: str | None, head: bytes) -> Format:
    """Return the format that the Content-Type names, else the one of the file name, else of the first bytes.

    Raises:
        UnsupportedMediaType: None of the three tells; the message lists what is allowed.
    """
    media = (content_type or "").split(";")[0].strip().lower()
    if media in MEDIA_TYPES:
        return MEDIA_TYPES[media]
    found = _SUFFIXES.get(Path(filename or "").suffix.lower()) or _by_content(head)
    if media not in _SAYS_NOTHING or found is None:
        raise UnsupportedMediaType(f"cannot read {media or 'this file'}; allowed: {', '.join([*MEDIA_TYPES, ZIP])}")
    return found


def _by_content(head: bytes) -> Format | None:
    if head.startswith(b"PAR1"):
        return Format.PARQUET
    if head.startswith(b"PK\x03\x04"):
        return _by_members(head)
    if idx.is_idx(_unpacked(head)):
        return Format.IDX
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"[", b"{")):
        return Format.JSON
    return None if b"\x00" in head or not text else Format.CSV


def _by_members(head: bytes) -> Format | None:
    """Return the format by the first member of a ZIP whose name tells."""
    for found in _MEMBER.finditer(head):
        name = head[found.end() : found.end() + int.from_bytes(found[1], "little")].lower()
        if name.endswith(b".npy"):
            return Format.NPZ
        if name.endswith(tuple(suffix.encode() for suffix in images.SUFFIXES)):
            return Format.IMAGES
        if b"idx" in name.rpartition(b"/")[2]:
            return Format.IDX
    return None


def _unpacked(head: bytes) -> bytes:
    """Return the first bytes inside of gzip, or those that came if they are none of it."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 8) if head.startswith(idx.GZIP) else head
    except zlib.error:
        return head


def profile_file(path: Path, format: Format | str, limits: Limits, options: ImageOptions | None = None) -> Profile:
    """Return what is in the file, in one or two passes and in memory that does not grow with it.

    `options` are for a ZIP of images, and for no other format.

    Raises:
        InvalidDataset: The file is not what its format calls for; the message says where.
        TooLarge: It has more columns, or unpacks to more bytes, than `limits` allow.
    """
    if options is not None:
        return images.profile(path, limits, options)
    return _READERS[Format(format)].profile(path, limits)


def contents_sha256(sha256: str, format: Format | str, columns: Sequence[ColumnProfile]) -> str:
    """Return the hash of what is read from a file: that of its bytes, of images together with how they are read."""
    if Format(format) is not Format.IMAGES:
        return sha256
    shapes = [column.shape for column in columns if column.shape]
    return hashlib.sha256(f"{sha256} {shapes}".encode()).hexdigest()


def read_batches(
    source: Path | Iterable[bytes],
    format: Format | str,
    columns: Sequence[ColumnProfile],
    wanted: Sequence[ColumnProfile],
    rows: int,
) -> Iterator[Frame]:
    """Yield the columns `wanted` of a profiled file in frames of at most `rows` rows, in memory that does not grow.

    `wanted` may have other types than the file's profile has: cells are then read as those.

    Raises:
        InvalidDataset: The file is not the one that `columns` describe, or a cell does not fit the type wanted.
    """
    reader = _READERS[Format(format)]
    with opened(source, seekable=reader.needs_seek) as file:
        yield from reader.batches(file, list(columns), list(wanted), rows)


def read_frame(
    source: Path | Iterable[bytes],
    format: Format | str,
    columns: Sequence[ColumnProfile],
    wanted: Sequence[str] | None = None,
    rows: int | None = None,
) -> Frame:
    """Return the columns `wanted` (default: all), in that order, of a profiled file.

    `source` is the file or its bytes in pieces of any size; `rows` stops after so many.

    Raises:
        InvalidDataset: The file is not the one that `columns` describe.
    """
    reader = _READERS[Format(format)]
    by_name = {column.name: column for column in columns}
    chosen = list(columns) if wanted is None else [by_name[name] for name in wanted]
    with opened(source, seekable=reader.needs_seek) as file:
        return reader.read(file, list(columns), chosen, rows)
