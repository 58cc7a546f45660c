"""`/v1/models`: list, look at, predict with, download and delete trained models."""

from fastapi import APIRouter, Depends, Response

from service.api.answers.models import Model
from service.api.bodies import read_json
from service.api.deps import JsonBody, Service, known_query
from service.api.download import DOWNLOAD, download
from service.api.examples import PREDICTIONS
from service.api.openapi import BODY_ERRORS, errors, json_request
from service.api.pagination import AfterModel, Limit, Page
from service.api.parameters import ModelId
from service.errors import InvalidInput, InvalidRows, NotFound
from service.predict.messages import PredictAnswer, PredictRequest
from service.predict.predict import predict
from service.store import models

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(known_query)])


@router.get("", summary="List models", responses=errors(InvalidInput))
def list_models(service: Service, limit: Limit = 20, after: AfterModel = None) -> Page[Model]:
    """Return the models, newest first."""
    with service.store.read() as session:
        page = models.list_page(session, limit, after)
        return Page(data=[Model.of(row) for row in page.rows], has_more=page.has_more)


@router.get("/{model_id}", summary="Get a model", responses=errors(NotFound, InvalidInput))
def get_model(service: Service, model_id: ModelId) -> Model:
    """Return one model: what it predicts, from which columns, how good it is and what it came from."""
    with service.store.read() as session:
        return Model.of(models.get(session, model_id))


@router.post(
    "/{model_id}/predict",
    summary="Predict with uncertainty",
    response_model=PredictAnswer,
    responses=errors(*BODY_ERRORS, NotFound, InvalidInput, InvalidRows),
    openapi_extra=json_request(PredictRequest, "The rows, and how to ask the network how sure it is.", PREDICTIONS),
)
def predict_rows(service: Service, model_id: ModelId, body: JsonBody) -> Response:
    """Predict raw rows by Monte-Carlo dropout: a mean, and how far it can be trusted.

    The model carries its preprocessing. The same rows, seed and samples give the same answer.
    """
    model = service.models.get(model_id)
    answer = predict(model, read_json(body, PredictRequest), service.settings)
    return Response(answer.encode(), media_type="application/json")


@router.get(
    "/{model_id}/weights",
    summary="Download the weights",
    response_class=Response,
    responses=DOWNLOAD | errors(NotFound, InvalidInput),
)
def download_weights(service: Service, model_id: ModelId) -> Response:
    """Return the weights as safetensors."""
    with service.store.read() as session:
        row = models.get(session, model_id)
    return download(service.store, row.weights_sha256, row.size, f"{row.id}.safetensors")


@router.delete("/{model_id}", status_code=204, summary="Delete a model", responses=errors(NotFound, InvalidInput))
def delete_model(service: Service, model_id: ModelId) -> None:
    """Delete a model; the job that made it stays and no longer names it."""
    with service.store.begin() as session:
        models.delete(session, model_id)
    service.models.forget(model_id)
