"""Is the service alive, is it ready, and where is what: `/healthz`, `/readyz`, `/`."""

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Depends

from service.api.answers.base import Answer
from service.api.deps import Backend, Service, known_query
from service.api.openapi import errors
from service.errors import InvalidInput, TrainyardError, Unavailable
from service.store import workers

VERSION = version("trainyard")

router = APIRouter(tags=["service"], dependencies=[Depends(known_query)])


class Health(Answer):
    """The process answers."""

    status: Literal["ok"] = "ok"
    """Always "ok"."""
    version: str
    """Version of the service."""


class Readiness(Answer):
    """Everything that a job needs answers."""

    status: Literal["ready"] = "ready"
    """Always "ready"; what is not ready is answered with a problem and 503."""
    store: Literal["ok"] = "ok"
    """The database answers."""
    broker: Literal["ok"] = "ok"
    """Redis answers."""
    workers: int
    """Workers that have been heard of lately."""


class Links(Answer):
    """Where to go from here."""

    name: Literal["trainyard"] = "trainyard"
    """Always "trainyard"."""
    version: str
    """Version of the service."""
    links: dict[str, str]
    """Paths by what they lead to."""


@router.get("/", summary="Find the way", responses=errors(InvalidInput))
async def get_links() -> Links:
    """Return the paths of the resources and of the documentation."""
    resources = {name: f"/v1/{name}" for name in ("datasets", "jobs", "models", "blocks", "webhooks")}
    service = {"documentation": "/docs", "openapi": "/openapi.json", "health": "/healthz", "readiness": "/readyz"}
    return Links(version=VERSION, links={**resources, "validate": "/v1/networks/validate", **service})


@router.get("/healthz", summary="Is the process alive?", responses=errors(InvalidInput))
async def get_health() -> Health:
    """Answer as long as the process does; asks nobody else."""
    return Health(version=VERSION)


@router.get("/readyz", summary="Can jobs be taken and trained?", responses=errors(InvalidInput, Unavailable))
def get_readiness(service: Service) -> Readiness:
    """Answer 200 when store, broker and at least one worker answer; else 503, naming what is missing."""
    missing, living = [], 0
    try:
        living = _living(service)
        if not living:
            missing.append("no worker has been heard of in the last 10 seconds")
    except TrainyardError as error:
        missing.append(f"store: {error.message}")
    if not service.queue.ping():
        missing.append("the broker does not answer")
    if missing:
        raise Unavailable("Not ready: " + "; ".join(missing) + ".")
    return Readiness(workers=living)


def _living(service: Backend) -> int:
    with service.store.read() as session:
        return len(workers.alive(session, workers.ALIVE_SECONDS))
