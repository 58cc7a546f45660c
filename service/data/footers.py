"""What the footer of a Parquet file says of the size of its rows, which may be packed to a thousandth of it.

Reference: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from collections.abc import Collection
from pathlib import Path

from service.data.reader import invalid
from service.data.thrift import Struct, ThriftReader

TAIL = 8
"""Bytes behind the footer: its length, and PAR1."""
LONGEST = 64 << 20
GROUPS, GROUP_CHUNKS, GROUP_ROWS, CHUNK_META, META_PATH, META_UNPACKED = 4, 1, 3, 3, 3, 6
"""Fields: of FileMetaData, RowGroup (two), ColumnChunk, and ColumnMetaData (two)."""


def footer_of(path: Path) -> Struct:
    """Return the footer of a Parquet file.

    Raises:
        InvalidDataset: It has none, or one that is larger than 64 MiB.
    """
    with path.open("rb") as file:
        end = file.seek(0, 2) - TAIL
        file.seek(max(end, 0))
        length = int.from_bytes(file.read(4), "little")
        if not 0 < length <= min(end, LONGEST):
            raise invalid("the file is not Parquet that can be read: its footer has no length that can be")
        file.seek(end - length)
        try:
            return ThriftReader(file.read(length)).struct()
        except (IndexError, KeyError, ValueError, RecursionError) as error:
            raise invalid("the file is not Parquet that can be read: its footer is broken") from error


def unpacked_row(path: Path, columns: Collection[str]) -> int:
    """Return how many bytes a row of these columns has on average, unpacked, where row groups have the largest.

    Raises:
        InvalidDataset: The footer is broken.
    """
    names = {name.encode() for name in columns}
    try:
        return max((_row_of(group, names) for group in footer_of(path)[GROUPS][1][1]), default=0)
    except (KeyError, TypeError, IndexError) as error:
        raise invalid("the file is not Parquet that can be read: its footer is broken") from error


def _row_of(group: Struct, names: Collection[bytes]) -> int:
    metas = [chunk[CHUNK_META][1] for chunk in group[GROUP_CHUNKS][1][1]]
    unpacked = sum(meta[META_UNPACKED][1] for meta in metas if meta[META_PATH][1][1][0] in names)
    return int(unpacked // max(group[GROUP_ROWS][1], 1))
