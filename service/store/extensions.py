"""Jobs that go on from where another one ended, with more epochs."""

from typing import Any

from sqlalchemy import insert, literal, select
from sqlalchemy.orm import Session

from service.devices import asked
from service.errors import WrongState
from service.ids import new_id
from service.store import checkpoints, datasets, events, jobs, queueing, weights
from service.store.limits import NO_LIMITS, QueueLimits
from service.store.metric_tables import Metric
from service.store.tables import Checkpoint, Job


def extend(
    session: Session,
    parent_id: str,
    *,
    spec: dict[str, Any],
    spec_sha256: str,
    epochs: int,
    submitter: str | None = None,
    limits: QueueLimits = NO_LIMITS,
) -> Job:
    """Queue a job that goes on from the end of one that has succeeded; the same one again for the same request.

    It begins with the parent's checkpoints and what was measured up to them, except on the test rows, and belongs to
    the parent's submitter unless another one is named.

    Raises:
        NotFound: There is no such job.
        WrongState: It has not succeeded, or its data set or its last checkpoint is gone.
        QueueFull: As many jobs wait as the limits allow.
    """
    parent = jobs.lock(session, parent_id)
    if parent.status != "succeeded":
        raise WrongState(f"Job {parent_id} is {parent.status}: only a job that has succeeded can be extended.")
    same = select(Job).where(Job.parent == parent_id, Job.spec_sha256 == spec_sha256).order_by(Job.id.desc()).limit(1)
    if (earlier := session.scalar(same)) is not None:
        return earlier
    last = checkpoints.last(session, parent_id)
    if last is None:
        raise WrongState(f"Job {parent_id} has no checkpoint left to go on from.")
    queueing.admit(session, submitter or parent.submitter, limits)
    datasets.hold_for(session, parent)
    job = jobs.insert(
        session,
        name=spec["name"],
        spec=spec,
        spec_sha256=spec_sha256,
        dataset=parent.dataset,
        data_sha256=parent.data_sha256,
        seed=parent.seed,
        submitter=submitter or parent.submitter,
        priority=spec["priority"],
        device=asked(spec["training"]["device"], spec["training"].get("devices", 1)),
        total_epochs=epochs,
        parent=parent_id,
        starts_from=weights.held_by(session, parent_id),
    )
    _take_checkpoints(session, parent_id, job.id)
    _take_metrics(session, parent_id, job.id, last.step)
    message = f"It goes on from step {last.step}, where {parent_id} ended."
    events.add(session, job.id, "extends", message, data={"job": parent_id, "step": last.step, "epoch": last.epoch})
    return job


def _take_checkpoints(session: Session, parent_id: str, job_id: str) -> None:
    for row in checkpoints.resumable(session, parent_id):
        copied = {
            column.key: getattr(row, column.key)
            for column in Checkpoint.__mapper__.column_attrs
            if column.key not in ("id", "job", "created_at", "attempt")
        }
        session.add(Checkpoint(id=new_id(Checkpoint.id_prefix), job=job_id, attempt=0, **copied))
    session.flush()


def _take_metrics(session: Session, parent_id: str, job_id: str, step: int) -> None:
    names = [column.key for column in Metric.__mapper__.column_attrs if column.key != "job"]
    rows = select(literal(job_id), *(getattr(Metric, name) for name in names)).where(
        Metric.job == parent_id, Metric.step <= step, Metric.split != "test"
    )
    session.execute(insert(Metric).from_select(["job", *names], rows))
