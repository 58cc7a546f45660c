"""`/v1/weights`: upload, list, look at and delete weights for training to start from."""

import math
from functools import partial

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session

from service.api.answers.weights import Weights, WeightsFile
from service.api.creation import FILE_ERRORS, Insert, created
from service.api.deps import Backend, Service, known_query
from service.api.idempotency import Idempotency, Reply
from service.api.openapi import errors, file_request, links
from service.api.pagination import AfterWeights, Limit, Page
from service.api.parameters import WeightsId, WeightsName
from service.api.upload import Upload, name_of, stored
from service.errors import InvalidInput, InvalidWeights, NotFound
from service.network.tensors import inspect
from service.store import weights

MEDIA_TYPES = {
    "application/octet-stream": "A safetensors file. Its header says what it holds; a pickle is refused.",
}
UPLOAD_ERRORS = errors(InvalidInput, InvalidWeights, *FILE_ERRORS)
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
    return await created(request, service, once, partial(_make, service, name))


def _make(service: Backend, name: str | None, upload: Upload) -> Insert:
    tensors = inspect(upload.path)
    bytes_of_file = stored(service, upload.path)

    def insert(session: Session) -> Reply:
        row = weights.insert(
            session,
            name=name or name_of(upload.filename, "weights"),
            blob=bytes_of_file.finish(session),
            tensors={tensor: found.model_dump(mode="json") for tensor, found in tensors.items()},
            parameters=sum(math.prod(found.shape) for found in tensors.values()),
        )
        return Reply(201, Weights.of(row).model_dump(mode="json"), f"/v1/weights/{row.id}")

    return insert


@router.get("", summary="List weights", responses=errors(InvalidInput))
def list_weights(service: Service, limit: Limit = 20, after: AfterWeights = None) -> Page[WeightsFile]:
    """Return the imported weights, newest first, without their tensors."""
    with service.store.read() as session:
        return Page.of(weights.list_page(session, limit, after), WeightsFile.of)


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
