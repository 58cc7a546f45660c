"""Living workers, by the age of their last heartbeat."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.store.clock import now
from service.store.tables import Worker
from service.store.upserts import upsert

ALIVE_SECONDS = 10.0
"""A worker whose last heartbeat is younger is taken to live."""


def beat(session: Session, worker_id: str, *, host: str, pid: int, slots: int, device: str = "cpu") -> None:
    """Say that a worker is alive, with so many slots on devices of one kind; the first time adds it."""
    fresh = upsert(session, Worker).values(id=worker_id, host=host, pid=pid, slots=slots, device=device)
    again = {"heartbeat_at": now(), "slots": slots, "device": device}
    session.execute(fresh.on_conflict_do_update(index_elements=["id"], set_=again))


def alive(session: Session, within_seconds: float) -> Sequence[Worker]:
    """Return the workers whose last heartbeat is younger than this, the longest-lived first."""
    young = select(Worker).where(Worker.heartbeat_at > now() - within_seconds)
    return session.scalars(young.order_by(Worker.started_at, Worker.id)).all()


def kinds(session: Session) -> frozenset[str]:
    """Return the kinds of device that living workers have slots on."""
    young = Worker.heartbeat_at > now() - ALIVE_SECONDS
    return frozenset(session.scalars(select(Worker.device).where(young).distinct()))


def leave(session: Session, worker_id: str) -> None:
    """Take a worker out that ends in good order."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def forget(session: Session, silent_seconds: float) -> None:
    """Take out the workers that have been silent for so long."""
    session.execute(delete(Worker).where(Worker.heartbeat_at < now() - silent_seconds))
