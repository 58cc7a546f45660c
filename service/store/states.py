"""The states of a job and the one statement that changes them."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, update
from sqlalchemy.orm import Session

from service.store import events
from service.store.clock import now
from service.store.tables import Job

TRANSITIONS: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"running", "paused", "cancelled"}),
    "running": frozenset({"succeeded", "failed", "cancelled", "pausing", "cancelling", "queued"}),
    # A run that ends while it is asked to pause has nothing left to pause for.
    "pausing": frozenset({"paused", "running", "succeeded", "failed", "cancelling", "cancelled"}),
    "paused": frozenset({"queued", "cancelled"}),
    "cancelling": frozenset({"cancelled"}),
    "succeeded": frozenset(),
    # Somebody may have it tried again.
    "failed": frozenset({"queued"}),
    "cancelled": frozenset({"queued"}),
}
"""Every change of state there is: `move` takes its WHERE from here."""
OWNED = ("running", "pausing", "cancelling")
"""States in which a worker holds the job under a lease."""
TERMINAL = ("succeeded", "failed", "cancelled")
"""States that a job leaves only when somebody has it tried again."""
LET_GO = {"running": "queued", "pausing": "paused", "cancelling": "cancelled"}
"""What becomes of a job whose worker lets go of it before the end, or dies."""


def move(
    session: Session,
    job_id: str,
    status: str,
    message: str,
    *conditions: ColumnElement[bool],
    event: str | None = None,
    level: events.Level = "info",
    data: dict[str, Any] | None = None,
    **values: Any,
) -> Job | None:
    """Change the state of a job and add the event that tells so; None if it is in no state that leads there.

    `event` is the type of the event where it is not the new state's name, `values` are columns set beside it.
    """
    sources = [state for state, following in TRANSITIONS.items() if status in following]
    change = update(Job).where(Job.id == job_id, Job.status.in_(sources), *conditions)
    moved = change.values(status=status, **_leaving(status), **values).returning(Job)
    job = session.scalar(moved, execution_options={"populate_existing": True, "synchronize_session": False})
    if job is not None:
        told: dict[str, Any] = {"attempt": job.attempt, "level": level, "data": data, "tells": status}
        events.add(session, job.id, event or status, message, **told)
    return job


def _leaving(status: str) -> dict[str, Any]:
    if status in OWNED:
        return {}
    at_end = {"finished_at": now()} if status in TERMINAL else {"samples_per_second": None}
    return {"lease_expires_at": None, "eta_seconds": None, **at_end}
