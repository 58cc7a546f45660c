"""`/v2`: the Open Inference Protocol, so that KServe's and Triton's clients can ask a trained model as it is."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Request, Response

from service.api.deps import Service, check_size, known_query
from service.api.examples import INFERENCES
from service.api.health import VERSION as SERVER_VERSION
from service.api.inference.body import HEADER_LENGTH, Body
from service.api.inference.messages import (
    IndexEntry,
    InferRequest,
    InferResponse,
    Live,
    ModelConfig,
    ModelMetadata,
    Ready,
    ServerMetadata,
)
from service.api.inference.metadata import PLATFORM, VERSION, config, metadata
from service.api.inference.question import InferQuestion
from service.api.openapi import BODY_ERRORS, errors, json_request
from service.api.parameters import ModelReference
from service.api.questions import ask
from service.errors import InvalidInput, InvalidRows, NotFound, Overloaded, Unavailable
from service.store import aliases, models

EXTENSIONS = ["binary_tensor_data", "model_repository", "model_configuration"]
INDEX_ENTRIES = 1000
Version = Annotated[Literal["1"], Path(description="The only version that there is.")]
HeaderLength = Annotated[
    int | None,
    Header(alias=HEADER_LENGTH, ge=0, description="Bytes of the body that are JSON; tensors follow as they are."),
]
ASKED = errors(*BODY_ERRORS, NotFound, InvalidInput, InvalidRows, Overloaded)
NAMED = errors(NotFound, InvalidInput)
MODEL = "/models/{model_id}"
MODEL_VERSION = "/models/{model_id}/versions/{version}"


async def known_version(version: Version) -> None:
    """Answer 404 for a version that there is not."""


VERSIONED = [Depends(known_version)]
BODY = json_request(InferRequest, "Rows as tensors.", INFERENCES)

router = APIRouter(prefix="/v2", tags=["inference protocol"], dependencies=[Depends(known_query)])


@router.get("/health/live", summary="Is the server alive?", responses=errors(InvalidInput))
async def is_live() -> Live:
    """Answer as long as the process does."""
    return Live(live=True)


@router.get("/health/ready", summary="Can predictions be asked for?", responses=errors(InvalidInput, Unavailable))
def is_ready(service: Service) -> Ready:
    """Answer 200 when the database does: predictions need neither Redis nor a worker."""
    with service.store.read() as session:
        models.list_page(session, 1)
    return Ready(ready=True)


@router.get("", summary="What serves", responses=errors(InvalidInput))
async def get_server() -> ServerMetadata:
    """Return name, version and extensions of the server."""
    return ServerMetadata(name=PLATFORM, version=SERVER_VERSION, extensions=EXTENSIONS)


@router.post("/repository/index", summary="Which models can be asked", responses=errors(InvalidInput))
def list_repository(service: Service) -> list[IndexEntry]:
    """Return the aliases and the newest models; `/v1/aliases` and `/v1/models` have all of them, page by page."""
    with service.store.read() as session:
        names = [row.name for row in aliases.list_page(session, INDEX_ENTRIES).rows]
        names += [row.id for row in models.list_page(session, INDEX_ENTRIES).rows]
    return [IndexEntry(name=name, version=VERSION, state="READY", reason="") for name in names]


@router.get(
    f"{MODEL_VERSION}/ready",
    name="is_model_version_ready",
    summary="Can a version be asked?",
    dependencies=VERSIONED,
    responses=NAMED,
)
@router.get(f"{MODEL}/ready", summary="Can a model be asked?", responses=NAMED)
def is_model_ready(service: Service, model_id: ModelReference) -> Ready:
    """Answer 200 when there is such a model; it is loaded when it is asked."""
    with service.store.read() as session:
        aliases.model(session, model_id)
    return Ready(ready=True, name=model_id)


@router.get(
    f"{MODEL_VERSION}/config",
    name="get_version_config",
    summary="How a version is served",
    dependencies=VERSIONED,
    responses=NAMED,
)
@router.get(f"{MODEL}/config", summary="How a model is served", responses=NAMED)
def get_config(service: Service, model_id: ModelReference) -> ModelConfig:
    """Return inputs and outputs of a model in the words of Triton's model configuration."""
    loaded = service.models.find(model_id)
    with service.store.read() as session:
        return config(model_id, loaded, models.get(session, loaded.id), service.settings)


@router.get(
    MODEL_VERSION,
    name="get_version_metadata",
    summary="What a version takes and gives",
    dependencies=VERSIONED,
    responses=NAMED,
)
@router.get(MODEL, summary="What a model takes and gives", responses=NAMED)
def get_metadata(service: Service, model_id: ModelReference) -> ModelMetadata:
    """Return inputs and outputs of a model: an input for each column, an output for each field of a prediction."""
    return metadata(model_id, service.models.find(model_id))


@router.post(
    f"{MODEL}/infer",
    summary="Predict with uncertainty, from tensors to tensors",
    response_model=InferResponse,
    responses=ASKED,
    openapi_extra=BODY,
)
async def infer(
    request: Request, service: Service, model_id: ModelReference, header_length: HeaderLength = None
) -> Response:
    """Predict rows that come as tensors, by Monte-Carlo dropout, as `POST /v1/models/{id}/predict` does.

    Tensors may stand behind the JSON as bytes, both ways (the extension for binary data), and the body may be
    compressed by gzip or deflate.
    """
    limit = service.settings.max_json_bytes
    check_size(request, limit)

    def question(content: bytes) -> InferQuestion:
        return InferQuestion(model_id, Body.of(content, request.headers, header_length), limit)

    answer = await ask(request, service, model_id, question)
    return Response(answer.content, headers=answer.headers)


@router.post(
    f"{MODEL_VERSION}/infer",
    summary="Predict with a version of a model",
    response_model=InferResponse,
    responses=ASKED,
    openapi_extra=BODY,
)
async def infer_with_version(
    request: Request, service: Service, model_id: ModelReference, version: Version, header_length: HeaderLength = None
) -> Response:
    """Predict with a version of a model, of which there is only "1"."""
    return await infer(request, service, model_id, header_length)
