"""`/v1/predictions`: predictions of whole files that a predictor makes later."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from service.api.answers.predictions import Prediction, PredictionStatus
from service.api.bulk_documents import RESULT, rows_request
from service.api.bulk_options import BulkOptions, is_file
from service.api.bulk_result import result_of
from service.api.bulk_submission import DatasetRequest, of_dataset, of_upload
from service.api.deps import Service, json_body, known_query
from service.api.examples import DATASET
from service.api.idempotency import Idempotency
from service.api.openapi import BODY_ERRORS, errors, json_request, links
from service.api.pagination import AfterPrediction, Limit, Page
from service.api.parameters import ID, ModelReference, PredictionId
from service.errors import (
    IdempotencyMismatch,
    InvalidDataset,
    InvalidInput,
    InvalidRows,
    NotFound,
    Overloaded,
    QueueFull,
    RequestInFlight,
    WrongState,
)
from service.store import predictions

EXAMPLES = {"a data set": {"dataset": DATASET, "mc_samples": 50, "seed": 1}}
USES = links("prediction_id", "get_prediction", "cancel_prediction", "get_prediction_result", "delete_prediction")
REFUSED = errors(
    *BODY_ERRORS, NotFound, InvalidInput, InvalidRows, InvalidDataset, IdempotencyMismatch, RequestInFlight, QueueFull,
    Overloaded,
)  # fmt: skip

models_router = APIRouter(prefix="/v1/models", tags=["predictions"], dependencies=[Depends(known_query)])
router = APIRouter(prefix="/v1/predictions", tags=["predictions"], dependencies=[Depends(known_query)])


@models_router.post(
    "/{model_id}/predictions",
    status_code=202,
    response_model=Prediction,
    summary="Predict a whole file later",
    responses={202: USES, **REFUSED},
    openapi_extra=rows_request(
        json_request(DatasetRequest, "A data set, or the rows themselves; and how to ask the network.", EXAMPLES)
    ),
)
async def create_prediction(
    request: Request, service: Service, model_id: ModelReference, query: BulkOptions, once: Idempotency
) -> Response:
    """Queue the prediction of every row of a data set, or of an uploaded file of rows.

    A predictor makes it, whatever is being trained. Which model an alias leads to is decided now.
    """
    if is_file(request.headers.get("content-type")):
        return await of_upload(request, service, model_id, query, once)
    query.refuse()
    return await of_dataset(service, model_id, await json_body(request, service), once)


@router.get("", summary="List predictions", responses=errors(InvalidInput))
def list_predictions(
    service: Service,
    limit: Limit = 20,
    after: AfterPrediction = None,
    status: Annotated[PredictionStatus | None, Query(description="Only those in this state.")] = None,
    model: Annotated[str | None, Query(pattern=f"^mdl_{ID}", description="Only those of this model.")] = None,
) -> Page[Prediction]:
    """Return the predictions, newest first."""
    with service.store.read() as session:
        return Page.of(predictions.list_page(session, limit, after, status, model), Prediction.of)


@router.get("/{prediction_id}", summary="Get a prediction", responses=errors(NotFound, InvalidInput))
def get_prediction(service: Service, prediction_id: PredictionId) -> Prediction:
    """Return one prediction."""
    with service.store.read() as session:
        return Prediction.of(predictions.get(session, prediction_id))


@router.post("/{prediction_id}/cancel", summary="Cancel a prediction", responses=errors(NotFound, InvalidInput))
def cancel_prediction(service: Service, prediction_id: PredictionId) -> Prediction:
    """Cancel a prediction at once; what was made of it is thrown away.

    Asking again, or for one that has ended, changes nothing and is no error.
    """
    with service.store.begin() as session:
        return Prediction.of(predictions.cancel(session, prediction_id))


@router.get(
    "/{prediction_id}/result",
    summary="Get the predictions",
    response_class=Response,
    responses=RESULT | errors(NotFound, WrongState, InvalidInput),
)
def get_prediction_result(
    service: Service,
    prediction_id: PredictionId,
    format: Annotated[Literal["parquet", "csv", "ndjson"], Query(description="Form of the answer.")] = "parquet",
) -> Response:
    """Return the predictions of all rows, in their order, as a stream. Reading never consumes."""
    with service.store.read() as session:
        row = predictions.get(session, prediction_id)
    if row.result is None:
        raise WrongState(f"Prediction {prediction_id} is {row.status}: it has no result.")
    return result_of(service, row, format)


@router.delete(
    "/{prediction_id}",
    status_code=204,
    summary="Delete a prediction",
    responses=errors(NotFound, WrongState, InvalidInput),
)
def delete_prediction(service: Service, prediction_id: PredictionId) -> None:
    """Delete a prediction and its result; one that is running has to be cancelled first."""
    with service.store.begin() as session:
        predictions.delete(session, prediction_id)
