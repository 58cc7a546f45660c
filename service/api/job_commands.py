"""`/v1/jobs/{id}/...`: what a person may ask of a job. Every command is answered at once, and may be given again."""

from fastapi import APIRouter, Depends, Response

from service.api.answers.jobs import Job
from service.api.bodies import read_json
from service.api.deps import Backend, JsonBody, Service, known_query
from service.api.extension import ExtendRequest, extended
from service.api.openapi import BODY_ERRORS, errors, json_request
from service.api.parameters import JobId, Submitter
from service.api.places import place_of
from service.errors import InvalidInput, InvalidSpec, NotFound, QueueFull, WrongState
from service.store import commands, extensions, jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(known_query)])
EXAMPLES = {"longer, with smaller steps": {"epochs": 20, "settings": {"optimizer.learning_rate": 0.0001}}}
ERRORS = errors(NotFound, WrongState, InvalidInput)
JOINS = errors(NotFound, WrongState, InvalidInput, QueueFull)
"""Of the commands by which a job joins the queue."""


@router.post("/{job_id}/pause", summary="Pause a job", responses=ERRORS)
def pause_job(service: Service, job_id: JobId) -> Job:
    """Pause a job that waits, or ask the worker of one that runs to stop at its next step; it keeps a checkpoint."""
    return _give(service, job_id, "pause")


@router.post("/{job_id}/resume", summary="Resume a job", responses=JOINS)
def resume_job(service: Service, job_id: JobId) -> Job:
    """Queue a paused job again; it goes on from where it was, and ends with the bits of one never paused."""
    return _give(service, job_id, "resume")


@router.post("/{job_id}/cancel", summary="Cancel a job", responses=errors(NotFound, InvalidInput))
def cancel_job(service: Service, job_id: JobId) -> Job:
    """Cancel a job that waits, or ask the worker of one that runs to stop at its next step; it keeps a checkpoint.

    Asking again, or for a job that has ended, changes nothing and is no error.
    """
    return _give(service, job_id, "cancel")


@router.post("/{job_id}/kill", summary="Kill a job", responses=errors(NotFound, InvalidInput))
def kill_job(service: Service, job_id: JobId) -> Job:
    """Cancel a job at once, whatever its worker does; checkpoints that it has written stay.

    Asking again, or for a job that has ended, changes nothing and is no error.
    """
    return _give(service, job_id, "kill")


@router.post("/{job_id}/retry", summary="Try a job again", responses=JOINS)
def retry_job(service: Service, job_id: JobId) -> Job:
    """Queue a job that has failed or was cancelled again; it goes on from its last checkpoint where it has one."""
    return _give(service, job_id, "retry")


@router.post(
    "/{job_id}/extend",
    status_code=202,
    summary="Train a job longer",
    responses=errors(*BODY_ERRORS, NotFound, WrongState, InvalidSpec, InvalidInput, QueueFull),
    openapi_extra=json_request(ExtendRequest, "How much longer, and what to change.", EXAMPLES),
)
def extend_job(service: Service, job_id: JobId, body: JsonBody, response: Response, submitter: Submitter = None) -> Job:
    """Queue a job that goes on from the end of one that has succeeded, which stays as it is.

    The new job begins with the checkpoints and the metrics of the old one, its `parent`. Asking for the same again is
    answered with the same job. It belongs to the submitter of the old one unless the request names another.
    """
    request = read_json(body, ExtendRequest)
    with service.store.read() as session:
        parent = jobs.get(session, job_id)
    spec, sha256 = extended(service, parent, request)
    with service.store.begin() as session:
        row = extensions.extend(
            session,
            job_id,
            spec=spec.canonical(),
            spec_sha256=sha256,
            epochs=spec.training.epochs,
            submitter=submitter,
            limits=service.limits,
        )
        job = Job.of(row, place_of(session, service, row.id))
    service.queue.enqueue(job.id, row.device)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


def _give(service: Backend, job_id: str, name: str) -> Job:
    with service.store.begin() as session:
        row = commands.give(session, job_id, name, service.limits)
        job = Job.of(row, place_of(session, service, job_id))
    if job.status == "queued":
        service.queue.enqueue(job.id, row.device)  # a message too many is harmless
    return job
