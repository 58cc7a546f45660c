"""What endpoints ask for: the backend, a JSON body read under a limit, and a query without unknown names."""

import asyncio
import difflib
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant

from service.errors import InvalidInput, Problem, TooLarge, UnsupportedMediaType
from service.export.exporter import Exporter
from service.predict.admission import Admission
from service.predict.batching import Batcher
from service.predict.bulk.streams import Streams
from service.predict.cache import ModelCache
from service.queue import Queue
from service.settings import Settings
from service.store.engine import Store
from service.store.limits import QueueLimits


@dataclass(frozen=True)
class Backend:
    """What stands behind the API while it runs."""

    settings: Settings
    store: Store
    queue: Queue
    models: ModelCache
    batcher: Batcher
    admission: Admission
    streams: Streams
    exporter: Exporter
    closing: asyncio.Event
    """Set as soon as the server begins to shut down: open streams end then."""

    @property
    def limits(self) -> QueueLimits:
        """How many jobs may wait and run."""
        return QueueLimits.of(self.settings)


async def backend(request: Request) -> Backend:
    """Return the backend of the running application."""
    found: Backend = request.app.state.backend
    return found


Service = Annotated[Backend, Depends(backend)]


async def known_query(request: Request) -> None:
    """Refuse query parameters that the route does not know; a misspelt filter must not look like an answer."""
    known = _query_names(request.scope["route"].dependant)
    problems = [_unknown(name, known) for name in request.query_params if name not in known]
    if problems:
        raise InvalidInput(problems)


def _query_names(dependant: Dependant) -> list[str]:
    own = [field.alias for field in dependant.query_params]
    return own + [name for below in dependant.dependencies for name in _query_names(below)]


def _unknown(name: str, known: list[str]) -> Problem:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return Problem(name[:100], f"is not a query parameter of this resource{hint}", name, known)


def too_large(limit: int) -> TooLarge:
    """Return the error for a body of more than `limit` bytes."""
    return TooLarge(f"The body is larger than the {limit:,} bytes that are accepted here.")


def check_size(request: Request, limit: int) -> None:
    """Refuse at once a body that says itself that it is too large.

    Raises:
        TooLarge: Content-Length is above `limit`.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:19]) > limit:
        raise too_large(limit)


def check_length(request: Request, limit: int) -> None:
    """Refuse at once a body that says itself that it is too large, or that is compressed.

    Raises:
        TooLarge: Content-Length is above `limit`.
        UnsupportedMediaType: The body has a Content-Encoding.
    """
    check_size(request, limit)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("Compressed bodies are not read; send the body without Content-Encoding.")


async def json_body(request: Request, service: Service) -> bytes:
    """Return the bytes of a JSON body.

    Raises:
        UnsupportedMediaType: The Content-Type is neither missing nor that of JSON in UTF-8.
        TooLarge: More bytes came than the settings allow, whatever Content-Length said.
    """
    check_json(request.headers.get("content-type"))
    limit = service.settings.max_json_bytes
    check_length(request, limit)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body)


JsonBody = Annotated[bytes, Depends(json_body)]


def check_json(content_type: str | None) -> None:
    """Refuse a Content-Type that is not JSON; a missing one is taken for JSON."""
    if content_type is None:
        return
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType(f"Send the body with Content-Type: application/json, not {content_type[:100]!r}.")
    _, found, charset = parameters.lower().partition("charset=")
    if found and charset.strip(" \"'").split(";")[0] not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType("JSON is read as UTF-8 only.")
