"""`/v1/networks`: what would come of a specification, without training."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from service.advice import advise
from service.api.answers.networks import NetworkCheck
from service.api.bodies import read_value
from service.api.deps import JsonBody, Service, known_query
from service.api.examples import CHECKS
from service.api.openapi import BODY_ERRORS, errors, json_request
from service.api.sources import look_up
from service.api.submission import build, examine
from service.blocks.base import Shape, Strict
from service.errors import InvalidInput, InvalidSpec, Problem
from service.network import Network
from service.problems import parse_json, read_draft
from service.spec import JobSpec
from service.summary import summarize

STAND_IN_DATA = {"dataset": "ds_" + "0" * 26, "target": "target"}

router = APIRouter(prefix="/v1/networks", tags=["networks"], dependencies=[Depends(known_query)])


class CheckRequest(Strict):
    """A specification to look at; without a data set, the shapes that one would have given."""

    spec: dict[str, Any]
    """The specification, as for a job; `data`, or its `dataset`, may be left out."""
    input_shape: Annotated[list[Annotated[int, Field(ge=1, le=2**31)]], Field(min_length=1, max_length=8)] | None = None
    """Shape of a row as it reaches the first layer, channels first; default: what the data set gives."""
    outputs: Annotated[int, Field(ge=1, le=2**31)] | None = None
    """How many numbers the loss needs: classes, or columns to predict; default: what the data set gives."""


@router.post(
    "/validate",
    summary="Validate a specification",
    responses=errors(*BODY_ERRORS, InvalidInput, InvalidSpec),
    openapi_extra=json_request(CheckRequest, "The specification, and shapes where it names no data set.", CHECKS),
)
def validate_network(service: Service, body: JsonBody) -> NetworkCheck:
    """Say what would come of a specification without doing it: shapes, parameters, cost, memory and advice.

    What is not valid is answered as submitting it would be. A specification may also stand alone, not under `spec`.
    """
    request = read_value(_wrapped(parse_json(body)), CheckRequest)
    data = request.spec.get("data")
    if isinstance(data, dict) and "dataset" in data:
        _refuse_shapes(request)
        found = examine(service, request.spec)
        return _answer(found.spec, found.network, found.input_shape, found.outputs, found.spec.sha256())
    spec, sources = look_up(service.store, _without_data(request))
    shape, outputs = _shapes(request)
    return _answer(spec, build(service, spec, shape, outputs, None, sources), shape, outputs, None)


def _wrapped(value: object) -> object:
    """Return the body of a check, also where the specification stands alone."""
    if not isinstance(value, dict) or "spec" in value or "network" not in value:
        return value
    beside = {name: value[name] for name in ("input_shape", "outputs") if name in value}
    return {"spec": {name: part for name, part in value.items() if name not in beside}, **beside}


def _refuse_shapes(request: CheckRequest) -> None:
    given = {"input_shape": request.input_shape, "outputs": request.outputs}
    message = "follows from the data set that the specification names; leave one of the two out"
    if problems := [Problem(name, message, got) for name, got in given.items() if got is not None]:
        raise InvalidInput(problems)


def _without_data(request: CheckRequest) -> JobSpec:
    """Return the specification with a data set that nobody looks up."""
    data = request.spec.get("data", {})
    draft = read_draft({**request.spec, "data": {**STAND_IN_DATA, **data} if isinstance(data, dict) else data})
    if draft.spec is None:
        raise InvalidSpec(draft.problems)
    return draft.spec


def _shapes(request: CheckRequest) -> tuple[Shape, int]:
    message = "is required where the specification names no data set (`data.dataset`)"
    given = {"input_shape": request.input_shape, "outputs": request.outputs}
    if request.input_shape is None or request.outputs is None:
        raise InvalidInput([Problem(name, message) for name, got in given.items() if got is None])
    return tuple(request.input_shape), request.outputs


def _answer(spec: JobSpec, network: Network, shape: Shape, outputs: int, sha256: str | None) -> NetworkCheck:
    summary = summarize(network, spec.training.rows_of_batch(1))
    return NetworkCheck.of(summary, shape, outputs, network.stochastic_layers, sha256, advise(spec, network))
