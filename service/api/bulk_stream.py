"""Files of rows in, predictions out, piece by piece: neither is ever whole in memory."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import orjson
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from service.api.bulk_options import FILES, writer_for
from service.api.deps import Backend
from service.api.problems import document
from service.api.upload import Upload, received, uploads_folder
from service.data.formats import Format, sniff
from service.data.row_files import FORMATS, RowFile, open_rows
from service.errors import InvalidRows, MalformedRequest, Problem, TrainyardError, Unavailable, UnsupportedMediaType
from service.predict.bulk.bulk import Bulk
from service.predict.bulk.schema import schema_of
from service.predict.bulk.streams import Steps
from service.predict.bulk.writers import Writer, written
from service.predict.cache import LoadedModel
from service.predict.messages import PredictOptions

ABOUT = "X-Trainyard-Prediction"
"""Header of an answer that is a stream: what all predictions rest on, as JSON."""
log = logging.getLogger(__name__)


async def stream_rows(request: Request, service: Backend, reference: str, asked: PredictOptions) -> StreamingResponse:
    """Return the answer to a file of rows, begun.

    The rows are read twice: what is wrong with any of them is known before the first is answered.

    Raises:
        Overloaded: As many files as may be are being predicted; the body is not read then.
        TooLarge: The file has more bytes or rows than the settings allow.
        InvalidRows: Columns or rows do not fit the model.
        NotAcceptable: The client accepts no form of the answer that there is.
        TrainyardError: What reading the model, or predicting, raises.
    """
    kind = writer_for(request.headers.get("accept"))
    settings = service.settings
    async with AsyncExitStack() as stack:
        stack.enter_context(service.streams.place())
        loaded = await run_in_threadpool(service.models.find, reference)
        bulk = Bulk.of(loaded, asked, settings)
        upload = await stack.enter_async_context(arrived(request, service))
        file = row_file(upload, loaded)
        await count_rows(request, service, bulk, file)
        writer = kind(schema_of(bulk), bulk.about)
        steps = Steps(service.streams, written(bulk.answers(bulk.encoded(file.frames())), writer))
        stack.push_async_callback(steps.aclose)
        first = await anext(steps)
        return Predictions(service, writer, first, steps, stack.pop_all(), request.url.path)


def arrived(request: Request, service: Backend) -> AbstractAsyncContextManager[Upload]:
    """Receive the file of a request; a client that stops to send it is not waited for.

    Raises:
        MalformedRequest: No byte has come for too long.
        TooLarge: More bytes came than the settings allow.
    """
    settings = service.settings

    async def patient() -> Message:
        try:
            return await asyncio.wait_for(request.receive(), settings.stream_stall_seconds)
        except TimeoutError as error:
            raise MalformedRequest(f"No more of the file came for {settings.stream_stall_seconds:g} s.") from error

    return received(Request(request.scope, patient), uploads_folder(settings), settings.max_stream_bytes)


def format_of(upload: Upload) -> Format:
    """Return the format of a file of rows.

    Raises:
        UnsupportedMediaType: It has none that rows are predicted from as they come.
    """
    format = sniff(upload.content_type, upload.filename, upload.head())
    if format not in FORMATS:
        raise UnsupportedMediaType(f"Rows to be predicted come as {', '.join(FILES)}; this file is {format.value}.")
    return format


def row_file(upload: Upload, loaded: LoadedModel) -> RowFile:
    """Return the rows of a file as the model reads them.

    Raises:
        UnsupportedMediaType: It has no format that rows are predicted from as they come.
    """
    return open_rows(upload.path, format_of(upload), loaded.features.columns, loaded.features.fillable)


async def count_rows(request: Request, service: Backend, bulk: Bulk, file: RowFile) -> int:
    """Return how many rows a file has, all of which fit the model.

    Raises:
        ClientDisconnect: Nobody waits for the answer any more.
        InvalidRows: Columns or rows do not fit, or there are no rows.
        TooLarge: There are too many.
    """
    await run_in_threadpool(file.check)
    rows, steps = 0, Steps(service.streams, bulk.encoded(file.frames()))
    try:
        async for x in steps:
            rows += len(x)
            bulk.check_work(rows, service.settings)
            _check_open(service)
            if await request.is_disconnected():
                raise ClientDisconnect
    finally:
        await steps.aclose()
    if not rows:
        raise InvalidRows([Problem("rows", "there must be at least one row", got=[])])
    return rows


def _check_open(service: Backend) -> None:
    if service.closing.is_set():
        raise Unavailable("The server is shutting down; send the file again.")


class Predictions(StreamingResponse):
    """Pieces of predictions. An answer that cannot be finished ends with a problem as its last line, or breaks off."""

    def __init__(
        self,
        service: Backend,
        writer: Writer,
        first: bytes,
        steps: Steps[bytes],
        held: AsyncExitStack,
        path: str,
    ) -> None:
        """Send `first`, then what `steps` give; `held` is closed at the end, whatever that is."""
        headers = {ABOUT: json.dumps(writer.about)}
        super().__init__(self._pieces(first, steps), media_type=writer.media_type, headers=headers)
        self._service, self._writer, self._held, self._path = service, writer, held, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; a client that does not take it is left."""
        seconds = self._service.settings.stream_stall_seconds

        async def patient(message: Message) -> None:
            try:
                await asyncio.wait_for(send(message), seconds)
            except TimeoutError as error:
                raise ClientDisconnect from error

        try:
            await super().__call__(scope, receive, patient)
        finally:
            await self._held.aclose()

    async def _pieces(self, first: bytes, steps: Steps[bytes]) -> AsyncIterator[bytes]:
        try:
            if first:
                yield first
            async for piece in steps:
                _check_open(self._service)
                if piece:
                    yield piece
        except TrainyardError as error:
            if not self._writer.tells_failures:
                raise
            yield orjson.dumps(document(error, self._path), option=orjson.OPT_APPEND_NEWLINE)
        except Exception:
            log.exception("a stream of predictions broke off")
            if not self._writer.tells_failures:
                raise
            fault = TrainyardError("Something went wrong inside the service; these are not all predictions.")
            yield orjson.dumps(document(fault, self._path), option=orjson.OPT_APPEND_NEWLINE)
