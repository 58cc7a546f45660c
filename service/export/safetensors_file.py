"""One safetensors file with a whole model: the tensors of its weights, and beside them text under a key of metadata.

A file is 8 bytes with the length of the header, the header (JSON, padded with blanks), and the values. Between the
weights as they are stored and the file that is exported only the header differs, so that both ways stream.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from service.network.tensors import LENGTH_BYTES
from service.store.blobs import read_blob
from service.store.engine import Store

KEY = "trainyard"
METADATA = "__metadata__"
ALIGNMENT = 8
PIECE = 1 << 20


def pieces(store: Store, sha256: str, size: int, text: bytes) -> tuple[int, Iterator[bytes]]:
    """Return the size and the pieces of the file that has stored weights, `size` bytes, and a text.

    Raises:
        CorruptBlob: The first piece of the weights fails its SHA-256; a later one breaks the pieces off.
    """
    stored = read_blob(store, sha256)
    head = bytearray()
    # Chunks may be smaller than the header.
    while len(head) < LENGTH_BYTES or len(head) < _start(head):
        head += next(stored)
    start = _start(head)
    header = orjson.loads(bytes(head[LENGTH_BYTES:start]))
    fresh = _header({METADATA: {"format": "pt", KEY: text.decode()}, **header})
    return len(fresh) + size - start, chain([fresh, bytes(head[start:])], stored)


def bare(source: Path, into: Path) -> None:
    """Write the weights of a file that was exported, without its text: the bytes that were stored once.

    `source` has been looked at: its header is sound.
    """
    with source.open("rb") as file, into.open("wb") as copy:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        header: dict[str, Any] = orjson.loads(file.read(length))
        header.pop(METADATA, None)
        copy.write(_header(header))
        while piece := file.read(PIECE):
            copy.write(piece)


def _start(head: bytes | bytearray) -> int:
    """Return where the values begin."""
    return LENGTH_BYTES + int.from_bytes(head[:LENGTH_BYTES], "little")


def _header(header: dict[str, Any]) -> bytes:
    """Return a header as safetensors writes it, with its length in front."""
    text = orjson.dumps(header)
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text
