"""`/v1/models`: list, look at, download and delete trained models."""

from fastapi import APIRouter, Depends, Response

from service.api.answers.models import Model
from service.api.deps import Service, known_query
from service.api.download import DOWNLOAD, download
from service.api.openapi import errors
from service.api.pagination import AfterModel, Limit, Page
from service.api.parameters import ModelId, ModelReference
from service.errors import InUse, InvalidInput, NotFound
from service.store import aliases, models

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(known_query)])


@router.get("", summary="List models", responses=errors(InvalidInput))
def list_models(service: Service, limit: Limit = 20, after: AfterModel = None) -> Page[Model]:
    """Return the models, newest first."""
    with service.store.read() as session:
        return Page.of(models.list_page(session, limit, after), Model.of)


@router.get("/{model_id}", summary="Get a model", responses=errors(NotFound, InvalidInput))
def get_model(service: Service, model_id: ModelReference) -> Model:
    """Return one model: what it predicts, from which columns, how good it is and what it came from."""
    with service.store.read() as session:
        return Model.of(aliases.model(session, model_id))


@router.get(
    "/{model_id}/weights",
    summary="Download the weights",
    response_class=Response,
    responses=DOWNLOAD | errors(NotFound, InvalidInput),
)
def download_weights(service: Service, model_id: ModelReference) -> Response:
    """Return the weights as safetensors."""
    with service.store.read() as session:
        row = aliases.model(session, model_id)
    return download(service.store, row.weights_sha256, row.size, f"{row.id}.safetensors")


@router.delete(
    "/{model_id}", status_code=204, summary="Delete a model", responses=errors(NotFound, InUse, InvalidInput)
)
def delete_model(service: Service, model_id: ModelId) -> None:
    """Delete a model that no alias leads to; the job that made it stays and no longer names it."""
    with service.store.begin() as session:
        models.delete(session, model_id)
    service.models.forget(model_id)
