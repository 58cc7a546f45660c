"""Predict requests on their way from the wire to the batcher: let in, read, and handed on."""

from collections.abc import Callable
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.api.deps import Backend, too_large
from service.predict.admission import Place
from service.predict.asked import Question

T = TypeVar("T")


async def ask(request: Request, service: Backend, reference: str, question: Callable[[bytes], Question[T]]) -> T:
    """Return the answer of a model to the question that the body of a request holds.

    Raises:
        Overloaded: Too much is in progress; the body is not read then.
        TooLarge: The body is larger than the settings allow, whatever Content-Length said.
        TrainyardError: What reading the model or the question, or predicting, raises.
    """
    with service.admission.place() as place:
        body = await _body(request.receive, place, service.settings.max_json_bytes)
        return await service.batcher.ask(reference, question(body), len(body))


async def _body(receive: Receive, place: Place, limit: int) -> bytes:
    pieces, more = [], True
    # Not `Request.stream`: nearly all bodies come in one piece, and a generator takes longer than that.
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece, more = message.get("body", b""), message.get("more_body", False)
        place.grow(len(piece))
        if place.held > limit:
            raise too_large(limit)
        pieces.append(piece)
    return b"".join(pieces)
