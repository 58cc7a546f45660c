"""What is kept of a job's run: `/v1/jobs/{id}/metrics`, `/events` (list and stream) and `/checkpoints`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse

from service.api.answers.jobs import Checkpoint, Event, Events
from service.api.answers.metrics import Metric, Metrics
from service.api.deps import Service, known_query
from service.api.download import DOWNLOAD, download
from service.api.openapi import errors
from service.api.pagination import AfterCheckpoint, Limit, Page
from service.api.parameters import NO_CONTROLS, CheckpointId, JobId, Step
from service.api.stream import EVENT_STREAM, follow, over
from service.errors import InvalidInput, NotFound, Problem
from service.spec import MOST_REPLICAS
from service.store import checkpoints, events, jobs, metrics

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], dependencies=[Depends(known_query)])

MetricName = Annotated[
    str | None, Query(max_length=64, pattern=NO_CONTROLS, description="Only this one, e.g. `loss` or `accuracy`.")
]
Split = Annotated[
    str | None, Query(max_length=16, pattern=NO_CONTROLS, description="Only on `train`, `validation` or `test` rows.")
]
Since = Annotated[
    Step,
    Query(
        description="Only values of later steps than this; those of this very step, such as the "
        "test metrics at the end, are left out, too."
    ),
]
MaxPoints = Annotated[
    int, Query(ge=1, le=100_000, description="Thin a longer curve out to so many values; its ends and extremes stay.")
]
Replica = Annotated[
    int | None,
    Query(ge=0, lt=MOST_REPLICAS, description="Those of one of the job's replicas, from 0 on; default: their means."),
]
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", pattern=r"^[0-9]{1,18}$", description="Where a stream that broke off goes on."),
]


@router.get("/metrics", summary="Get metrics", responses=errors(NotFound, InvalidInput))
def list_metrics(
    service: Service,
    job_id: JobId,
    name: MetricName = None,
    split: Split = None,
    since: Since = None,
    max_points: MaxPoints = 10_000,
    replica: Replica = None,
) -> Metrics:
    """Return what was measured, in the order of the steps; of several replicas the mean, the least and the largest."""
    with service.store.read() as session:
        number = _number_of(replica, int(jobs.get(session, job_id).spec.get("replicas", 1)))
        rows = metrics.query(
            session, job_id, name=name, split=split, since=since, max_points=max_points, replica=number
        )
        return Metrics(data=[Metric.of(row) for row in rows])


def _number_of(replica: int | None, replicas: int) -> int:
    """Return the number under which values of a replica are stored.

    Raises:
        InvalidInput: The job has fewer.
    """
    if replica is not None and replica >= replicas:
        message = f"the job has {replicas} of them" if replicas > 1 else "the job has one network"
        raise InvalidInput([Problem("replica", message, replica, {"ge": 0, "lt": replicas})])
    return metrics.ALL if replica is None or replicas == 1 else replica


@router.get(
    "/events",
    summary="Get or follow events",
    response_model=Events,
    responses={
        200: {
            "description": "The events, as a list or as a stream.",
            "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
        },
        204: {"description": "The stream is at its end: the job is over and there is nothing after `Last-Event-ID`."},
        **errors(NotFound, InvalidInput),
    },
)
def list_events(
    service: Service,
    job_id: JobId,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="Only events behind the one with this number.")] = 0,
    limit: Limit = 100,
    accept: Annotated[
        str, Header(description=f"With `{EVENT_STREAM}` the answer is a stream that ends with the job.")
    ] = "",
    last_event_id: LastEventId = None,
) -> Response | Events:
    """Return a job's events, oldest first; or follow them as server-sent events while they happen.

    A stream has one message per event (its `id` is the event's number, its type the event's) and messages of the
    type `progress`, without an id, whenever the progress has changed.
    """
    with service.store.read() as session:
        job = jobs.get(session, job_id)
        rows = events.since(session, job_id, after, limit + 1)
    if EVENT_STREAM not in accept:
        return Events(data=[Event.of(row) for row in rows[:limit]], has_more=len(rows) > limit)
    behind = int(last_event_id or after)
    if over(job) and last_event_id and not any(row.id > behind for row in rows):
        return Response(status_code=204)  # tells a browser's EventSource not to come again
    return StreamingResponse(
        follow(service, job_id, behind), media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"}
    )


@router.get("/checkpoints", summary="List checkpoints", responses=errors(NotFound, InvalidInput))
def list_checkpoints(
    service: Service, job_id: JobId, limit: Limit = 20, after: AfterCheckpoint = None
) -> Page[Checkpoint]:
    """Return the checkpoints that a job keeps, newest first: the last and the best."""
    with service.store.read() as session:
        jobs.get(session, job_id)
        return Page.of(checkpoints.list_page(session, job_id, limit, after), Checkpoint.of)


@router.get(
    "/checkpoints/{checkpoint_id}/weights",
    summary="Download a checkpoint",
    response_class=Response,
    responses=DOWNLOAD | errors(NotFound, InvalidInput),
)
def download_checkpoint(service: Service, job_id: JobId, checkpoint_id: CheckpointId) -> Response:
    """Return weights and optimizer state as safetensors."""
    with service.store.read() as session:
        row = checkpoints.get(session, checkpoint_id, job_id)
    return download(service.store, row.blob, row.size, f"{row.id}.safetensors")
