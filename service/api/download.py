"""Blobs on their way out: verified chunk by chunk, never whole in memory."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from fastapi.responses import StreamingResponse

from service.store.blobs import read_blob
from service.store.engine import Store

SAFETENSORS = "application/octet-stream"
DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The safetensors file; `ETag` is its SHA-256.",
        "content": {SAFETENSORS: {"schema": {"type": "string", "format": "binary"}}},
    }
}


def download(store: Store, sha256: str, size: int, filename: str) -> StreamingResponse:
    """Return the answer that carries a blob.

    Raises:
        CorruptBlob: The first chunk fails its SHA-256; a later one breaks the answer off.
    """
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{filename}"',
        "ETag": f'"{sha256}"',
    }
    chunks = read_blob(store, sha256)
    first = next(chunks, b"")
    content: Iterator[bytes] = chain([first], chunks)
    return StreamingResponse(content, media_type=SAFETENSORS, headers=headers)
