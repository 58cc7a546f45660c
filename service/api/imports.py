"""`POST /v1/models`: a model out of the safetensors file that this service, or another one, has exported."""

from functools import partial

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session

from service.api.answers.models import Model
from service.api.creation import FILE_ERRORS, Insert, created
from service.api.deps import Backend, Service, known_query
from service.api.idempotency import Idempotency, Reply
from service.api.openapi import errors, file_request, links
from service.api.parameters import ModelName
from service.api.upload import Upload, stored
from service.errors import InvalidInput, InvalidModel
from service.export.importing import read
from service.store import models

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(known_query)])

MEDIA_TYPES = {
    "application/octet-stream": "A file of `GET /v1/models/{id}/export?format=safetensors`; a pickle is refused.",
}
IMPORT_ERRORS = errors(InvalidInput, InvalidModel, *FILE_ERRORS)
USES = links("model_id", "get_model", "predict_rows", "export_model", "get_card", "delete_model")


@router.post(
    "",
    status_code=201,
    response_model=Model,
    summary="Import a model",
    responses={201: USES, **IMPORT_ERRORS},
    openapi_extra=file_request(MEDIA_TYPES, {}, "The file itself, or a form with the file in its field `file`."),
)
async def import_model(request: Request, service: Service, once: Idempotency, name: ModelName = None) -> Response:
    """Make a model of a file that was exported: it predicts what the first one predicts, to the same weights and seeds.

    It has no job. Everything in the file is checked: the hash of its tensors, their names, shapes and types, that they
    are finite, the specification, what preprocessing has learned; and the model has to answer rows. The file is
    streamed; its size is limited by the server's settings.
    """
    return await created(request, service, once, partial(_make, service, name))


def _make(service: Backend, name: str | None, upload: Upload) -> Insert:
    found = read(upload.path, upload.sha256, service.settings)
    weights, made = stored(service, found.weights), found.row

    def insert(session: Session) -> Reply:
        row = models.insert(
            session,
            job=None,
            name=name or found.file.name,
            spec=made.spec,
            task=made.task,
            classes=made.classes,
            columns=made.columns,
            preprocessing=made.preprocessing,
            metrics=made.metrics,
            calibration=made.calibration,
            receipt=made.receipt,
            weights=weights.finish(session),
            parameters=made.parameters,
            members=made.members,
        )
        return Reply(201, Model.of(row).model_dump(mode="json"), f"/v1/models/{row.id}")

    return insert
