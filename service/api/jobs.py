"""`/v1/jobs`: submit, list, look at and delete training jobs."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from service.api.answers.jobs import Job, Status
from service.api.deps import JsonBody, Service, known_query
from service.api.examples import SPECS
from service.api.idempotency import Idempotency, Reply
from service.api.openapi import BODY_ERRORS, errors, json_request, links
from service.api.pagination import AfterJob, Limit, Page
from service.api.parameters import JobId, OfSubmitter, Submitter
from service.api.places import place_of
from service.api.submission import examine, queue
from service.errors import (
    IdempotencyMismatch,
    InvalidInput,
    InvalidSpec,
    NotFound,
    QueueFull,
    RequestInFlight,
    WrongState,
)
from service.problems import parse_json
from service.spec import JobSpec
from service.store import jobs, waiting
from service.submitters import ANONYMOUS

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(known_query)])


class JobRequest(JobSpec):
    """A specification, and whether a job that has done the same before will do."""

    reuse: bool = False
    """Answer with a job that has succeeded with the same specification, data and seed, if there is one."""


Reuse = Annotated[
    bool,
    Query(description="Answer 200 with a job that has succeeded with the same specification, data and seed, if any."),
]

USES = links("job_id", "get_job", "cancel_job", "delete_job", "list_metrics", "list_events", "list_checkpoints")


@router.post(
    "",
    status_code=202,
    response_model=Job,
    summary="Submit a training job",
    responses={
        200: {"model": Job, "description": "A job that has succeeded before, as `reuse` asked for.", **USES},
        202: USES,
        **errors(*BODY_ERRORS, InvalidSpec, InvalidInput, IdempotencyMismatch, RequestInFlight, QueueFull),
    },
    openapi_extra=json_request(JobRequest, "The specification.", SPECS),
)
def create_job(
    service: Service, body: JsonBody, once: Idempotency, reuse: Reuse = False, submitter: Submitter = None
) -> Response:
    """Queue a training job. A specification with several mistakes is answered with all of them.

    Where as many jobs wait as the service allows, or as one submitter may have, nothing is stored and the answer is
    429; the same request, with the same Idempotency-Key, can be sent again.
    """
    submitter = submitter or ANONYMOUS
    fingerprint = once.fingerprint(hashlib.sha256(f"{submitter}\n".encode() + body).hexdigest())
    once.recall()
    if earlier := once.replay(fingerprint):
        return earlier.response()
    value, wanted = _without_reuse(parse_json(body))
    submission = examine(service, value)
    with service.store.begin() as session:
        reply = once.take(session, fingerprint)
        if reply is None:
            done = jobs.twin(session, *submission.identity) if reuse or wanted else None
            row = done or queue(session, submission, submitter, service.limits)
            reply = _reply(Job.of(row, place_of(session, service, row.id)), 200 if done else 202)
            once.finish(session, fingerprint, reply)
    if reply.status == 202 and not reply.replayed:
        # After the commit, so that a worker finds the job when it looks.
        service.queue.enqueue(reply.id, submission.spec.training.placement)
    return reply.response()


def _without_reuse(value: object) -> tuple[object, bool]:
    """Return the specification alone, and whether `reuse` stood beside it."""
    if not isinstance(value, dict) or not isinstance(value.get("reuse"), bool):
        return value, False
    return {name: part for name, part in value.items() if name != "reuse"}, value["reuse"]


def _reply(job: Job, status: int) -> Reply:
    return Reply(status, job.model_dump(mode="json"), f"/v1/jobs/{job.id}")


@router.get("", summary="List jobs", responses=errors(InvalidInput))
def list_jobs(
    service: Service,
    limit: Limit = 20,
    after: AfterJob = None,
    status: Annotated[Status | None, Query(description="Only jobs with this status.")] = None,
    submitter: OfSubmitter = None,
) -> Page[Job]:
    """Return the jobs, newest first."""
    with service.store.read() as session:
        page = jobs.list_page(session, limit, after, status, submitter)
        places = waiting.places(session, [row.id for row in page.rows], service.limits)
        return Page.of(page, lambda row: Job.of(row, places.get(row.id)))


@router.get("/{job_id}", summary="Get a job", responses=errors(NotFound, InvalidInput))
def get_job(service: Service, job_id: JobId) -> Job:
    """Return one job: status, progress, and the model or the error when it has ended."""
    with service.store.read() as session:
        row = jobs.get(session, job_id)
        return Job.of(row, place_of(session, service, job_id))


@router.delete(
    "/{job_id}", status_code=204, summary="Delete a job", responses=errors(NotFound, WrongState, InvalidInput)
)
def delete_job(service: Service, job_id: JobId) -> None:
    """Delete a job with its metrics, events and checkpoints; its model stays. One that runs must be cancelled first."""
    with service.store.begin() as session:
        jobs.delete(session, job_id)
