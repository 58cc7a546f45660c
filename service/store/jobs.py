"""Jobs. What clients do to them is here; what workers do is in `attempts`, their states are in `states`."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.devices import read_asked
from service.errors import WrongState
from service.ids import new_id
from service.store import events, waiting, weights, workers
from service.store.attempts import (
    Progress,
    cancelled,
    claim,
    fail,
    give_back,
    lose,
    own,
    owned_status,
    recover,
    renew,
    seen_status,
    succeed,
)
from service.store.pages import Page, page
from service.store.rows import found
from service.store.states import OWNED, TERMINAL, TRANSITIONS
from service.store.tables import Job, Model
from service.submitters import ANONYMOUS

__all__ = [
    "OWNED",
    "TERMINAL",
    "TRANSITIONS",
    "Progress",
    "cancelled",
    "claim",
    "delete",
    "fail",
    "get",
    "give_back",
    "held_by",
    "insert",
    "list_page",
    "lock",
    "lose",
    "oldest_queued",
    "own",
    "owned_status",
    "recover",
    "renew",
    "seen_status",
    "succeed",
    "twin",
]


def insert(
    session: Session,
    *,
    spec: dict[str, Any],
    spec_sha256: str,
    dataset: str,
    data_sha256: str,
    seed: int,
    name: str | None = None,
    submitter: str = ANONYMOUS,
    priority: int = 0,
    device: str = "auto",
    total_epochs: int | None = None,
    parent: str | None = None,
    starts_from: Collection[str] = (),
) -> Job:
    """Queue a new job. Take its data set with `datasets.hold` before, so that nobody deletes it meanwhile.

    `starts_from` are the hashes of the weights that it starts from, which stay as long as it does.

    Raises:
        NotFound: Such weights were deleted meanwhile.
    """
    job = Job(
        id=new_id(Job.id_prefix),
        name=name,
        spec=spec,
        spec_sha256=spec_sha256,
        dataset=dataset,
        data_sha256=data_sha256,
        seed=seed,
        submitter=submitter,
        priority=priority,
        device=device,
        total_epochs=total_epochs,
        parent=parent,
    )
    session.add(job)
    session.flush()
    weights.hold(session, job.id, starts_from)
    events.add(session, job.id, "queued", "The job is queued.", tells="queued")
    if device != "auto" and (reason := waiting.missing_slot(device, workers.kinds(session))):
        wanted = dict(zip(("device", "devices"), read_asked(device), strict=True))
        events.add(session, job.id, "no_slot", reason, level="warn", data=wanted)
    session.refresh(job)
    return job


def get(session: Session, job_id: str) -> Job:
    """Return a job.

    Raises:
        NotFound: There is no such job.
    """
    return found(session.get(Job, job_id, populate_existing=True), "job", job_id)


def lock(session: Session, job_id: str) -> Job:
    """Return a job that nobody else changes before this transaction ends.

    Raises:
        NotFound: There is no such job.
    """
    query = select(Job).where(Job.id == job_id).with_for_update(key_share=True)
    return found(session.scalar(query, execution_options={"populate_existing": True}), "job", job_id)


def list_page(
    session: Session, limit: int, after: str | None = None, status: str | None = None, submitter: str | None = None
) -> Page[Job]:
    """Return a page of the jobs, newest first; of one status or one submitter if they are named."""
    asked = ((Job.status, status), (Job.submitter, submitter))
    return page(session, Job, limit, after, *(column == value for column, value in asked if value is not None))


def oldest_queued(session: Session, limit: int, device: str | None = None) -> Sequence[str]:
    """Return the ids of the jobs that have waited longest, of those that ask for this device if it is named."""
    asked = () if device is None else (Job.device == device,)
    return session.scalars(select(Job.id).where(Job.status == "queued", *asked).order_by(Job.id).limit(limit)).all()


def held_by(session: Session, worker: str) -> Sequence[Job]:
    """Return the jobs that a worker owns, e.g. to let go of those of a child that died."""
    return session.scalars(select(Job).where(Job.worker == worker, Job.status.in_(OWNED)).order_by(Job.id)).all()


def twin(session: Session, spec_sha256: str, data_sha256: str, seed: int) -> Job | None:
    """Return the newest job of the same spec, data and seed that succeeded and whose model still exists."""
    same = (Job.spec_sha256 == spec_sha256, Job.data_sha256 == data_sha256, Job.seed == seed)
    done = select(Job).join(Model, Model.id == Job.model).where(*same, Job.status == "succeeded")
    return session.scalar(done.order_by(Job.id.desc()).limit(1))


def delete(session: Session, job_id: str) -> None:
    """Delete a job with its events, metrics and checkpoints; its model stays.

    Raises:
        NotFound: There is no such job.
        WrongState: A worker owns it.
    """
    job = lock(session, job_id)
    if job.status in OWNED:
        raise WrongState(f"Job {job_id} is {job.status}; cancel it and wait for its end, then delete it.")
    session.execute(delete_from(Job).where(Job.id == job_id))
