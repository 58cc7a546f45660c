"""`/v1/models/{id}/evaluate` and `/importance`: what a model is worth on rows whose truth is known."""

from fastapi import APIRouter, Depends

from service.api.bodies import read_json
from service.api.deps import JsonBody, Service, known_query
from service.api.examples import EVALUATIONS, IMPORTANCES
from service.api.openapi import BODY_ERRORS, errors, json_request
from service.api.parameters import ModelId
from service.errors import InvalidDataset, InvalidInput, InvalidRows, NotFound
from service.predict.evaluate import evaluate
from service.predict.evaluation_messages import EvaluateAnswer, EvaluateRequest, ImportanceAnswer, ImportanceRequest
from service.predict.importance import importance

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(known_query)])

REFUSED = errors(*BODY_ERRORS, NotFound, InvalidInput, InvalidRows, InvalidDataset)


@router.post(
    "/{model_id}/evaluate",
    summary="Evaluate on rows whose truth is known",
    responses=REFUSED,
    openapi_extra=json_request(EvaluateRequest, "The rows, and how to ask the network how sure it is.", EVALUATIONS),
)
def evaluate_model(service: Service, model_id: ModelId, body: JsonBody) -> EvaluateAnswer:
    """Measure a model on a data set: metrics, calibration, and what abstaining would bring.

    The data set is read some rows at a time. The same rows, seed and samples give the same answer.
    """
    model = service.models.get(model_id)
    return evaluate(model, read_json(body, EvaluateRequest), service.store, service.settings)


@router.post(
    "/{model_id}/importance",
    summary="Importance of the columns",
    responses=REFUSED,
    openapi_extra=json_request(ImportanceRequest, "The data set, and how often to shuffle each column.", IMPORTANCES),
)
def column_importance(service: Service, model_id: ModelId, body: JsonBody) -> ImportanceAnswer:
    """Shuffle one column after the other and see what that does to a metric (permutation importance).

    Columns that say the same share their importance: without the one, the model leans on the other.
    """
    model = service.models.get(model_id)
    return importance(model, read_json(body, ImportanceRequest), service.store, service.settings)
