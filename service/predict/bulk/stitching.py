"""One Parquet file out of many of the same columns: their row groups one behind the other, as they become known.

A Parquet file ends with its footer, which says where everything lies. So a file can be sent while it is being made,
and one that breaks off has no footer and is no Parquet: nobody takes the part for the whole.

Reference: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from typing import Any

from service.data.thrift import I16, I64, LIST, STRUCT, Struct, ThriftReader, encode

MAGIC = b"PAR1"
ROWS, GROUPS = 3, 4
"""Fields of FileMetaData."""
GROUP_CHUNKS, GROUP_OFFSET, GROUP_ORDINAL = 1, 5, 7
"""Fields of RowGroup."""
CHUNK_OFFSETS, CHUNK_META = (2, 4, 6), 3
"""Fields of ColumnChunk: itself, its indexes; what describes it."""
META_OFFSETS = (9, 10, 11, 14)
"""Fields of ColumnMetaData: pages of data, index and dictionary, bloom filter."""


class Stitcher:
    """Takes Parquet files and gives the pieces of the one that holds all of their rows."""

    def __init__(self) -> None:
        self._at = len(MAGIC)
        self._rows = 0
        self._groups: list[Struct] = []
        self._footer: Struct | None = None

    def add(self, file: bytes) -> bytes:
        """Take a whole file, and return the next piece."""
        end = len(file) - 8 - int.from_bytes(file[-8:-4], "little")
        footer = ThriftReader(file[end:-8]).struct()
        body = file[len(MAGIC) : end]
        for group in footer[GROUPS][1][1]:
            self._groups.append(self._moved(group, self._at - len(MAGIC)))
        self._rows += footer[ROWS][1]
        self._at += len(body)
        first, self._footer = self._footer is None, self._footer or footer
        return MAGIC + body if first else body

    def end(self) -> bytes:
        """Return the last piece.

        Raises:
            ValueError: There was no file.
        """
        if self._footer is None:
            raise ValueError("there is nothing to be stitched together")
        groups = (LIST, (STRUCT, self._groups))
        footer = encode(self._footer | {ROWS: (I64, self._rows), GROUPS: groups})
        return footer + len(footer).to_bytes(4, "little") + MAGIC

    def _moved(self, group: Struct, by: int) -> Struct:
        kind, chunks = group[GROUP_CHUNKS][1]
        moved = [_shifted(chunk, CHUNK_OFFSETS, by) | _meta(chunk, by) for chunk in chunks]
        group = _shifted(group, (GROUP_OFFSET,), by) | {GROUP_CHUNKS: (LIST, (kind, moved))}
        return group | ({GROUP_ORDINAL: (I16, min(len(self._groups), 2**15 - 1))} if GROUP_ORDINAL in group else {})


def _meta(chunk: Struct, by: int) -> Struct:
    if CHUNK_META not in chunk:
        return {}
    return {CHUNK_META: (STRUCT, _shifted(chunk[CHUNK_META][1], META_OFFSETS, by))}


def _shifted(fields: Struct, offsets: tuple[int, ...], by: int) -> Struct:
    # A file_offset of 0 says, by the format's own advice, nothing.
    moved: dict[int, tuple[int, Any]] = {
        number: (fields[number][0], fields[number][1] + by) for number in offsets if fields.get(number, (0, 0))[1]
    }
    return fields | moved
