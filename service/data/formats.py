"""File formats: telling which one a file has, profiling it in constant memory, reading columns of it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from service.data import csv, json_rows, npz, parquet
from service.data.frame import Frame
from service.data.profile import ColumnProfile, Profile
from service.data.reader import Format, Limits, Reader, opened
from service.errors import UnsupportedMediaType

__all__ = ["MEDIA_TYPES", "Format", "Limits", "profile_file", "read_frame", "sniff"]

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
}
"""Media types that say what a file is. Types that say nothing are resolved by file name and first bytes."""

_SAYS_NOTHING = {
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "application/x-www-form-urlencoded",
    "text/plain",
    "application/zip",
    "application/x-zip-compressed",
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
}


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
        raise UnsupportedMediaType(f"cannot read {media or 'this file'}; allowed: {', '.join(MEDIA_TYPES)}")
    return found


def _by_content(head: bytes) -> Format | None:
    if head.startswith(b"PAR1"):
        return Format.PARQUET
    if head.startswith(b"PK\x03\x04"):
        return Format.NPZ if b".npy" in head else None
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"[", b"{")):
        return Format.JSON
    return None if b"\x00" in head or not text else Format.CSV


def profile_file(path: Path, format: Format | str, limits: Limits) -> Profile:
    """Return what is in the file, in one pass (JSON: two) and in memory that does not grow with it.

    Raises:
        InvalidDataset: The file is not what its format calls for; the message says where.
        TooLarge: It has more columns, or unpacks to more bytes, than `limits` allow.
    """
    return _READERS[Format(format)].profile(path, limits)


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
