"""`POST /v1/models/{id}/predict`: rows in, predictions with uncertainty out."""

from dataclasses import dataclass

from fastapi import APIRouter, Depends, Request, Response

from service.api.binary import MEDIA_TYPE, accepted, safetensors_of
from service.api.bodies import read_json
from service.api.bulk_documents import LATER, STREAMED, rows_request
from service.api.bulk_options import NO_OPTIONS, BulkOptions, is_file
from service.api.bulk_stream import stream_rows
from service.api.bulk_submission import of_upload
from service.api.deps import Service, check_json, check_length, known_query
from service.api.examples import PREDICTIONS
from service.api.idempotency import MaybeOnce
from service.api.openapi import BODY_ERRORS, errors, json_request
from service.api.parameters import ModelReference
from service.api.questions import ask
from service.errors import InvalidDataset, InvalidInput, InvalidRows, NotAcceptable, NotFound, Overloaded, QueueFull
from service.predict.cache import LoadedModel
from service.predict.messages import PredictAnswer, PredictRequest

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(known_query)])
REFUSED = errors(
    *BODY_ERRORS, NotFound, NotAcceptable, InvalidInput, InvalidRows, InvalidDataset, QueueFull, Overloaded
)


@dataclass(frozen=True)
class JsonQuestion:
    """A body of JSON, and the answer as JSON or bytes."""

    body: bytes
    binary: bool = False
    """Whether the answer is to be a safetensors file."""

    def read(self, loaded: LoadedModel) -> PredictRequest:
        """Return the request."""
        return read_json(self.body, PredictRequest)

    def write(self, loaded: LoadedModel, answer: PredictAnswer) -> bytes:
        """Return the answer."""
        return safetensors_of(loaded, answer) if self.binary else answer.encode()


@router.post(
    "/{model_id}/predict",
    summary="Predict with uncertainty",
    response_model=PredictAnswer,
    responses=STREAMED | LATER | REFUSED,
    openapi_extra=rows_request(
        json_request(PredictRequest, "The rows, and how to ask the network how sure it is.", PREDICTIONS)
    ),
)
async def predict_rows(
    request: Request,
    service: Service,
    model_id: ModelReference,
    query: BulkOptions = NO_OPTIONS,
    once: MaybeOnce = None,
) -> Response:
    """Predict raw rows by Monte-Carlo dropout: a mean, and how far it can be trusted.

    The model carries its preprocessing. The same rows, seed and samples give the same answer, to the rounding of
    float32: requests that come together are run together. A file of rows (CSV, Parquet, one JSON object a line) is
    answered with a stream of predictions, as one JSON object a line, CSV or Parquet, whichever is accepted; with
    `async=true` it is queued, as `POST /v1/models/{id}/predictions` does.
    """
    kind = request.headers.get("content-type")
    if is_file(kind):
        if query.later and once is not None:
            return await of_upload(request, service, model_id, query, once)
        return await stream_rows(request, service, model_id, query.read())
    query.refuse()
    check_json(kind)
    check_length(request, service.settings.max_json_bytes)
    binary = accepted(request.headers.get("accept"))
    answer = await ask(request, service, model_id, lambda body: JsonQuestion(body, binary))
    return Response(answer, media_type=MEDIA_TYPE if binary else "application/json")
