"""A worker's hold on a job: the claim, the lease, the fence, and the ways it ends.

Every statement names the attempt (`WHERE id = ? AND attempt = ?` and a state in which a worker owns the job),
so a worker that lost its job can write nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from service.failures import AttemptsExhausted
from service.store import events, queueing
from service.store.clock import now
from service.store.limits import NO_LIMITS, QueueLimits
from service.store.states import LET_GO, OWNED, move
from service.store.tables import Job, JobEvent

RECOVER_AT_ONCE = 100
"""Lost jobs looked after in one transaction; the rest are in the next."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    epoch: int
    step: int
    total_epochs: int | None = None
    total_steps: int | None = None
    samples_per_second: float | None = None
    eta_seconds: float | None = None
    timings: dict[str, float] | None = None
    """Where the time of the job went; None: as it was."""


def claim(
    session: Session, worker: str, lease_seconds: float, kind: str | None = None, limits: QueueLimits = NO_LIMITS
) -> Job | None:
    """Give the next queued job to a slot of this kind of device, or of any; None where there is none to be had.

    The order is that of `turns`. Claims take turns, so that each counts the jobs that those before it took; the
    UPDATE is conditional, so that a job that is cancelled meanwhile is left alone and the next one taken.
    """
    queueing.wait_for_turn(session, queueing.CLAIMS)
    while (line := queueing.next_line(session, kind, limits)) is not None:
        job = move(
            session,
            line.first,
            "running",
            f"Worker {worker} took the job.",
            Job.status == "queued",
            event="claimed",
            data={"worker": worker},
            worker=worker,
            attempt=Job.attempt + 1,
            lease_expires_at=now() + lease_seconds,
            started_at=func.coalesce(Job.started_at, now()),
        )
        if job is not None:
            queueing.note_turn(session, job.submitter)
            return job
    return None


def seen_status(session: Session, job_id: str, attempt: int) -> str | None:
    """Return the status of the job as it is now; None if the attempt no longer owns it."""
    return session.scalar(select(Job.status).where(*_fence(job_id, attempt)))


def owned_status(session: Session, job_id: str, attempt: int) -> str | None:
    """Lock the job for this transaction and return its status; None if the attempt no longer owns it."""
    return session.scalar(select(Job.status).where(*_fence(job_id, attempt)).with_for_update(key_share=True))


def own(session: Session, job_id: str, attempt: int) -> bool:
    """Lock the job for this transaction and tell whether the attempt owns it: the fence of all that follows."""
    return owned_status(session, job_id, attempt) is not None


def renew(
    session: Session, job_id: str, attempt: int, lease_seconds: float, progress: Progress | None = None
) -> str | None:
    """Extend the lease, write the progress and return the status; None if the attempt no longer owns the job."""
    values = asdict(progress) if progress else {}
    if values.get("timings") is None:
        values.pop("timings", None)
    extend = update(Job).where(*_fence(job_id, attempt)).values(lease_expires_at=now() + lease_seconds, **values)
    return session.scalar(extend.returning(Job.status), execution_options={"synchronize_session": False})


def succeed(session: Session, job_id: str, attempt: int, model_id: str, receipt: dict[str, Any]) -> bool:
    """End a run well. False if it is fenced or was to be cancelled: roll back what was written beside it."""
    message, owned = f"The model {model_id} is ready.", _fence(job_id, attempt)
    return move(session, job_id, "succeeded", message, *owned, model=model_id, receipt=receipt) is not None


def fail(session: Session, job_id: str, attempt: int, code: str, message: str) -> bool:
    """End a run with a reason; one that was to be cancelled is cancelled. False if it is fenced."""
    values: dict[str, Any] = {"error_code": code, "error_message": message, "data": {"code": code}}
    failed = move(session, job_id, "failed", message, *_fence(job_id, attempt), level="error", **values)
    return failed is not None or cancelled(session, job_id, attempt)


def cancelled(session: Session, job_id: str, attempt: int) -> bool:
    """End a run because somebody asked for it. False if it is fenced."""
    return move(session, job_id, "cancelled", "The run is cancelled.", *_fence(job_id, attempt)) is not None


def give_back(session: Session, job_id: str, attempt: int) -> str | None:
    """Let go of a job before its end, as at SIGTERM; return what it is then, or None if it is fenced.

    It is queued again, unless somebody asked for a pause or a cancellation: then it is that.
    """
    status = owned_status(session, job_id, attempt)
    return _let_go(session, job_id, attempt, status, "The worker gave the job back.") if status else None


def lose(session: Session, job_id: str, attempt: int, max_attempts: int, reason: str) -> str | None:
    """Take a job from a worker that died; return what it is then, or None if the attempt did not own it.

    As `give_back`, but counted: the job fails once `max_attempts` of its attempts were lost.
    """
    status = owned_status(session, job_id, attempt)
    if status is None:
        return None
    counted = update(Job).where(*_fence(job_id, attempt)).values(lost=Job.lost + 1).returning(Job.lost)
    lost = session.scalar(counted, execution_options={"synchronize_session": False}) or 0
    message = f"Attempt {attempt} was lost: {reason}"
    events.add(session, job_id, "lost", message, attempt=attempt, level="warn", tells="lost")
    if status == "running" and lost >= max_attempts:
        fail(session, job_id, attempt, AttemptsExhausted.code, _what_happened(session, job_id))
        return "failed"
    return _let_go(session, job_id, attempt, status, "The worker was lost.")


def recover(session: Session, max_attempts: int) -> list[str]:
    """Take every job whose lease ran out from its worker; return their ids, whatever became of them."""
    lapsed = select(Job.id, Job.attempt, Job.worker).where(Job.status.in_(OWNED), Job.lease_expires_at < now())
    taken = lapsed.order_by(Job.id).limit(RECOVER_AT_ONCE).with_for_update(skip_locked=True, key_share=True)
    rows = session.execute(taken).tuples().all()
    for job_id, attempt, worker in rows:
        lose(session, job_id, attempt, max_attempts, f"worker {worker} was silent for longer than its lease.")
    return [job_id for job_id, _, _ in rows]


def _let_go(session: Session, job_id: str, attempt: int, status: str, why: str) -> str:
    target = LET_GO[status]
    move(session, job_id, target, f"{why} The job is {target}.", *_fence(job_id, attempt), worker=None)
    return target


def _what_happened(session: Session, job_id: str) -> str:
    told = select(JobEvent.message).where(JobEvent.job == job_id, JobEvent.type == "lost").order_by(JobEvent.id)
    stories: Sequence[str] = session.scalars(told).all()
    return f"The job was given up after {len(stories)} lost attempts. " + " ".join(stories)


def _fence(job_id: str, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return Job.id == job_id, Job.attempt == attempt, Job.status.in_(OWNED)
