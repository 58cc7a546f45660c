"""`/v1/jobs/{id}/...`: what a person may ask of a job. Every command is answered at once, and may be given again."""

from fastapi import APIRouter, Depends, Response

from service.api.answers.jobs import Job
from service.api.bodies import read_json
from service.api.deps import Backend, JsonBody, Service, known_query
from service.api.extension import ExtendRequest, extended
from service.api.openapi import BODY_ERRORS, errors, json_request
from service.api.parameters import JobId
from service.errors import InvalidInput, InvalidSpec, NotFound, WrongState
from service.store import commands, extensions, jobs, waiting

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(known_query)])
EXAMPLES = {"longer, with smaller steps": {"epochs": 20, "settings": {"optimizer.learning_rate": 0.0001}}}
ERRORS = errors(NotFound, WrongState, InvalidInput)


@router.post("/{job_id}/pause", summary="Pause a job", responses=ERRORS)
def pause_job(service: Service, job_id: JobId) -> Job:
    """Pause a job that waits, or ask the worker of one that runs to stop at its next step; it keeps a checkpoint."""
    return _give(service, job_id, "pause")


@router.post("/{job_id}/resume", summary="Resume a job", responses=ERRORS)
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


@router.post("/{job_id}/retry", summary="Try a job again", responses=ERRORS)
def retry_job(service: Service, job_id: JobId) -> Job:
    """Queue a job that has failed or was cancelled again; it goes on from its last checkpoint where it has one."""
    return _give(service, job_id, "retry")


@router.post(
    "/{job_id}/extend",
    status_code=202,
    summary="Train a job longer",
    responses=errors(*BODY_ERRORS, NotFound, WrongState, InvalidSpec, InvalidInput),
    openapi_extra=json_request(ExtendRequest, "How much longer, and what to change.", EXAMPLES),
)
def extend_job(service: Service, job_id: JobId, body: JsonBody, response: Response) -> Job:
    """Queue a job that goes on from the end of one that has succeeded, which stays as it is.

    The new job begins with the checkpoints and the metrics of the old one, its `parent`. Asking for the same again is
    answered with the same job.
    """
    request = read_json(body, ExtendRequest)
    with service.store.read() as session:
        parent = jobs.get(session, job_id)
    spec, sha256 = extended(service, parent, request)
    with service.store.begin() as session:
        row = extensions.extend(session, job_id, spec=spec.canonical(), spec_sha256=sha256, epochs=spec.training.epochs)
        job = Job.of(row, waiting.positions(session, [row.id]).get(row.id))
    service.queue.enqueue(job.id)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


def _give(service: Backend, job_id: str, name: str) -> Job:
    with service.store.begin() as session:
        row = commands.give(session, job_id, name)
        job = Job.of(row, waiting.positions(session, [job_id]).get(job_id))
    if job.status == "queued":
        service.queue.enqueue(job.id)  # a message too many is harmless
    return job
