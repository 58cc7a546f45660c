"""`/v1/networks`: what would come of a specification, without training."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from service.advice import Advice, advise
from service.api.answers.networks import Memory, NetworkCheck
from service.api.bodies import read_value
from service.api.deps import Backend, JsonBody, Service, known_query
from service.api.examples import CHECKS
from service.api.openapi import BODY_ERRORS, errors, json_request
from service.api.plans import Plan, build
from service.api.sources import look_up
from service.api.submission import examine
from service.blocks.base import Shape, Strict
from service.errors import InvalidInput, InvalidSpec, Problem
from service.problems import parse_json, read_draft
from service.spec import JobSpec
from service.store import waiting, workers
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
        advice = [*advise(found.spec, found.network, found.profile), *_no_slot(service, found.spec)]
        return _answer(service, found, found.spec.sha256(), advice)
    spec, sources = look_up(service.store, _without_data(request))
    plan = build(service.settings, spec, *_shapes(request), sources=sources)
    return _answer(service, plan, None, advise(spec, plan.network))


def _no_slot(service: Backend, spec: JobSpec) -> list[Advice]:
    """Return the advice on a device that no living worker has; none on "auto", which takes what comes."""
    device = spec.training.placement
    with service.store.read() as session:
        reason = None if device == "auto" else waiting.missing_slot(device, workers.kinds(session))
    if reason is None:
        return []
    if spec.training.devices > 1:
        return [
            Advice("no_slot", "training.devices", reason, "the workers alive", "Start such a worker, or ask for 1.")
        ]
    mend = 'Start such a worker, or ask for "auto".'
    return [Advice("no_slot", "training.device", reason, "the workers alive", mend)]


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


def _answer(service: Backend, plan: Plan, sha256: str | None, advice: list[Advice]) -> NetworkCheck:
    summary = summarize(plan.network)
    memory = Memory.of(plan.memory, summary.activation_bytes, plan.batch_rows, service.settings.memory_of_a_job)
    noisy = plan.network.stochastic_layers
    return NetworkCheck.of(summary, memory, plan.input_shape, plan.outputs, noisy, plan.spec.replicas, sha256, advice)
