"""Files on their way in: streamed from a raw body or a form into a temporary file, never whole in memory."""

import hashlib
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from service.api.deps import Backend, check_length, too_large
from service.errors import InvalidInput, MalformedRequest, Problem
from service.settings import Settings
from service.store.blobs import BlobWriter

BLOCK = 1024 * 1024
PREFIX = "upload-"
STALE_SECONDS = 3600
FORM_SLACK = 64 * 1024
"""Bytes that a form may have around the file."""


@dataclass(frozen=True)
class Upload:
    """A file that has arrived whole."""

    path: Path
    size: int
    sha256: str
    filename: str | None
    content_type: str | None
    """As the client said; a form's part says it for itself."""

    def head(self, size: int = 64 * 1024) -> bytes:
        """Return the first bytes."""
        with self.path.open("rb") as file:
            return file.read(size)


def uploads_folder(settings: Settings) -> Path:
    """Return where files lie while they arrive."""
    return settings.home.resolve() / "uploads"


def stored(service: Backend, path: Path) -> BlobWriter:
    """Put a file into the store, all but the manifest, which goes into the transaction that refers to it."""
    writer = BlobWriter(service.store, service.settings.chunk_bytes)
    with path.open("rb") as file:
        while piece := file.read(BLOCK):
            writer.write(piece)
    return writer


def name_of(filename: str | None, default: str) -> str:
    """Return a name for people from what a client calls its file."""
    base = (filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(letter for letter in base if letter.isprintable())[:200].strip() or default


class Sink:
    """A file that counts and hashes what is written to it, and takes no more than `limit` bytes."""

    def __init__(self, path: Path, limit: int) -> None:
        self.file = path.open("wb")
        self.limit = limit
        self.size = 0
        self.digest = hashlib.sha256()
        self._pending = bytearray()

    def add(self, data: bytes) -> None:
        """Take bytes; they reach the disk with the next `flush`."""
        self.size += len(data)
        if self.size > self.limit:
            raise too_large(self.limit)
        self._pending += data

    async def flush(self, at_least: int = 0) -> None:
        """Write what is pending, if that is `at_least` so many bytes, without holding up other requests."""
        if len(self._pending) >= max(at_least, 1):
            data, self._pending = bytes(self._pending), bytearray()
            await run_in_threadpool(self._write, data)

    def _write(self, data: bytes) -> None:
        self.digest.update(data)
        self.file.write(data)
        self.file.flush()


class FilePart:
    """Reads a multipart form whose only field is `file`, and hands the file's bytes to a sink."""

    def __init__(self, boundary: bytes, sink: Sink) -> None:
        self.sink = sink
        self.filename: str | None = None
        self.content_type: str | None = None
        self.files, self.ended = 0, False
        self._header = (bytearray(), bytearray())
        self._headers: dict[bytes, str] = {}
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": lambda data, start, end: self.sink.add(data[start:end]),
                "on_end": self._end,
            },
        )

    def feed(self, data: bytes) -> None:
        """Parse the next piece of the body."""
        self._parser.write(data)

    def finish(self) -> None:
        """Check that the form was whole and had the file."""
        if not self.ended:
            raise MalformedRequest("The form breaks off before its last boundary.")
        if not self.files:
            raise InvalidInput([Problem("file", "is required: the form has no field of this name")])

    def _part_begin(self) -> None:
        self._headers = {}

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = value.decode("latin-1")
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", ""))
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field != "file" or self.files:
            raise InvalidInput([Problem(field, "is not expected: the form has one field, `file`", None, ["file"])])
        self.files += 1
        self.filename = options.get(b"filename", b"").decode("utf-8", "replace") or None
        self.content_type = self._headers.get(b"content-type")

    def _end(self) -> None:
        self.ended = True


@asynccontextmanager
async def received(request: Request, folder: Path, limit: int) -> AsyncIterator[Upload]:
    """Receive the file of a request; it is gone when the context ends.

    Raises:
        TooLarge: The file has more than `limit` bytes, whatever Content-Length said.
        MalformedRequest: The form cannot be parsed.
        InvalidInput: The form has no field `file`, or others.
    """
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder) as place:
        path = Path(place) / "file"
        sink = Sink(path, limit)
        try:
            filename, content_type = await _receive(request, sink)
        finally:
            sink.file.close()
        yield Upload(path, sink.size, sink.digest.hexdigest(), filename, content_type)


async def _receive(request: Request, sink: Sink) -> tuple[str | None, str | None]:
    content_type = request.headers.get("content-type")
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        check_length(request, sink.limit + FORM_SLACK)
        return await _receive_form(request, sink, options.get(b"boundary", b""))
    check_length(request, sink.limit)
    async for data in request.stream():
        sink.add(data)
        await sink.flush(at_least=BLOCK)
    await sink.flush()
    return None, content_type


async def _receive_form(request: Request, sink: Sink, boundary: bytes) -> tuple[str | None, str | None]:
    if not boundary:
        raise MalformedRequest("The Content-Type multipart/form-data has no boundary.")
    try:
        part = FilePart(boundary, sink)
        async for data in request.stream():
            part.feed(data)
            await sink.flush(at_least=BLOCK)
    except FormParserError as error:
        raise MalformedRequest(f"The form cannot be read: {error}") from error
    part.finish()
    await sink.flush()
    return part.filename, part.content_type


def remove_stale(folder: Path) -> None:
    """Remove what uploads left behind whose server was killed."""
    for left in folder.glob(f"{PREFIX}*/file"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            left.unlink(missing_ok=True)
            left.parent.rmdir()
