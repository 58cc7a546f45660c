"""`/v1/weights`: upload, list, look at and delete weights for training to start from."""

import math

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool, run_in_threadpool

from service.api.answers.weights import Weights, WeightsFile
from service.api.deps import Backend, Service, known_query
from service.api.idempotency import Idempotency, Once, Reply
from service.api.openapi import errors, file_request, links
from service.api.pagination import AfterWeights, Limit, Page
from service.api.parameters import WeightsId, WeightsName
from service.api.upload import Upload, name_of, received, stored, uploads_folder
from service.errors import (
    IdempotencyMismatch,
    InvalidInput,
    InvalidWeights,
    MalformedRequest,
    NotFound,
    RequestInFlight,
    TooLarge,
    UnsupportedMediaType,
)
from service.network.tensors import inspect
from service.store import weights

MEDIA_TYPES = {
    "application/octet-stream": "A safetensors file. Its header says what it holds; a pickle is refused.",
}
UPLOAD_ERRORS = errors(
    InvalidInput, InvalidWeights, IdempotencyMismatch, MalformedRequest, RequestInFlight, TooLarge, UnsupportedMediaType
)
USES = links("weights_id", "get_weights", "delete_weights")

router = APIRouter(prefix="/v1/weights", tags=["weights"], dependencies=[Depends(known_query)])


@router.post(
    "",
    status_code=201,
    response_model=Weights,
    summary="Upload weights",
    responses={201: USES, **UPLOAD_ERRORS},
    openapi_extra=file_request(MEDIA_TYPES, {}, "The file itself, or a form with the file in its field `file`."),
)
async def create_weights(request: Request, service: Service, once: Idempotency, name: WeightsName = None) -> Response:
    """Store a safetensors file and say what is in it: names, types and shapes of the tensors.

    A job starts from it with a `pretrained` layer. The file is streamed; its size is limited by the server's settings.
    """
    folder, limit = uploads_folder(service.settings), service.settings.max_upload_bytes
    async with contextmanager_in_threadpool(once.reserved()), received(request, folder, limit) as upload:
        return (await run_in_threadpool(_store, service, upload, name, once)).response()


def _store(service: Backend, upload: Upload, name: str | None, once: Once) -> Reply:
    fingerprint = once.fingerprint(upload.sha256)
    if earlier := once.replay(fingerprint):
        return earlier
    tensors = inspect(upload.path)
    bytes_of_file = stored(service, upload.path)
    with service.store.begin() as session:
        row = weights.insert(
            session,
            name=name or name_of(upload.filename, "weights"),
            blob=bytes_of_file.finish(session),
            tensors={tensor: found.model_dump(mode="json") for tensor, found in tensors.items()},
            parameters=sum(math.prod(found.shape) for found in tensors.values()),
        )
        reply = Reply(201, Weights.of(row).model_dump(mode="json"), f"/v1/weights/{row.id}")
        once.finish(session, fingerprint, reply)
    return reply


@router.get("", summary="List weights", responses=errors(InvalidInput))
def list_weights(service: Service, limit: Limit = 20, after: AfterWeights = None) -> Page[WeightsFile]:
    """Return the imported weights, newest first, without their tensors."""
    with service.store.read() as session:
        page = weights.list_page(session, limit, after)
        return Page(data=[WeightsFile.of(row) for row in page.rows], has_more=page.has_more)


@router.get("/{weights_id}", summary="Get weights", responses=errors(NotFound, InvalidInput))
def get_weights(service: Service, weights_id: WeightsId) -> Weights:
    """Return imported weights with the names, types and shapes of their tensors."""
    with service.store.read() as session:
        return Weights.of(weights.get(session, weights_id))


@router.delete("/{weights_id}", status_code=204, summary="Delete weights", responses=errors(NotFound, InvalidInput))
def delete_weights(service: Service, weights_id: WeightsId) -> None:
    """Delete imported weights. Jobs that start from them, also queued ones, keep what they need."""
    with service.store.begin() as session:
        weights.delete(session, weights_id)
