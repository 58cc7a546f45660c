"""Files that something is made of: received, and made once, however often the request is tried."""

from collections.abc import Callable

from fastapi import Request, Response
from fastapi.concurrency import contextmanager_in_threadpool, run_in_threadpool
from sqlalchemy.orm import Session

from service.api.deps import Backend
from service.api.idempotency import Once, Reply
from service.api.upload import Upload, received, uploads_folder
from service.errors import IdempotencyMismatch, MalformedRequest, RequestInFlight, TooLarge, UnsupportedMediaType

FILE_ERRORS = (IdempotencyMismatch, MalformedRequest, RequestInFlight, TooLarge, UnsupportedMediaType)
"""What may be wrong with any file."""
Insert = Callable[[Session], Reply]
"""Adds what is made to the store, in the transaction that also remembers the answer."""


async def created(request: Request, service: Backend, once: Once, make: Callable[[Upload], Insert]) -> Response:
    """Receive the file of a request and answer with what is made of it; `make` reads it and stores its bytes."""
    folder, limit = uploads_folder(service.settings), service.settings.max_upload_bytes
    async with contextmanager_in_threadpool(once.reserved()), received(request, folder, limit) as upload:
        return (await run_in_threadpool(_created, service, once, upload, make)).response()


def _created(service: Backend, once: Once, upload: Upload, make: Callable[[Upload], Insert]) -> Reply:
    fingerprint = once.fingerprint(upload.sha256)
    if earlier := once.replay(fingerprint):
        return earlier
    insert = make(upload)
    with service.store.begin() as session:
        reply = insert(session)
        once.finish(session, fingerprint, reply)
    return reply
