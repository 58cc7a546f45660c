"""A worker's hold on a prediction, by the rules of `attempts`: claim, lease, a fence around every write, the end."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.orm import Session

from service.errors import AttemptsExhausted
from service.store.blobs import BlobRef
from service.store.clock import now
from service.store.prediction_tables import Prediction, PredictionPart
from service.store.predictions import ENDED, drop_parts

RECOVER_AT_ONCE = 100
QUIETLY = {"synchronize_session": False}
LET_GO: dict[str, Any] = {"status": "queued", "worker": None, "rows_per_second": None}


def claim(session: Session, worker: str, lease_seconds: float) -> Prediction | None:
    """Give the prediction that has waited longest to a worker; None where there is none to be had."""
    oldest = select(Prediction.id).where(Prediction.status == "queued").order_by(Prediction.id).limit(1)
    # Locked and looked at again: one that is cancelled or taken at this moment is passed over.
    while (found := session.scalar(oldest.with_for_update(skip_locked=True))) is not None:
        taken = update(Prediction).where(Prediction.id == found, Prediction.status == "queued")
        values = {
            "status": "running",
            "worker": worker,
            "attempt": Prediction.attempt + 1,
            "lease_expires_at": now() + lease_seconds,
            "started_at": func.coalesce(Prediction.started_at, now()),
        }
        options = {**QUIETLY, "populate_existing": True}
        row = session.scalar(taken.values(**values).returning(Prediction), execution_options=options)
        if row is not None:
            return row
    return None


def renew(session: Session, prediction_id: str, attempt: int, lease_seconds: float) -> bool:
    """Extend the lease; False if the attempt no longer owns the prediction."""
    return _change(session, prediction_id, attempt, lease_expires_at=now() + lease_seconds)


def add_part(
    session: Session, prediction_id: str, attempt: int, number: int, rows: int, blob: BlobRef, speed: float | None
) -> bool:
    """Keep the predictions of some more rows, and say how far it is; False if it is fenced: roll back."""
    done = Prediction.rows_done + rows
    if not _change(session, prediction_id, attempt, rows_done=done, rows_per_second=speed):
        return False
    values = {"prediction": prediction_id, "number": number, "rows": rows, "blob": blob.sha256}
    session.execute(insert(PredictionPart).values(**values))
    return True


def parts(session: Session, prediction_id: str) -> Sequence[PredictionPart]:
    """Return what earlier attempts, and this one, have kept, in order."""
    kept = select(PredictionPart).where(PredictionPart.prediction == prediction_id)
    return session.scalars(kept.order_by(PredictionPart.number)).all()


def succeed(session: Session, prediction_id: str, attempt: int, result: BlobRef, about: dict[str, Any]) -> bool:
    """End well, with the blob of the whole result. False if it is fenced: roll back what was written beside it."""
    values: dict[str, Any] = {"result": result.sha256, "result_size": result.size, "about": about}
    return _end(session, prediction_id, attempt, status="succeeded", **values)


def fail(
    session: Session, prediction_id: str, attempt: int, code: str, message: str, errors: list[dict[str, Any]]
) -> bool:
    """End with a reason. False if it is fenced."""
    values: dict[str, Any] = {"error_code": code, "error_message": message, "errors": errors}
    return _end(session, prediction_id, attempt, status="failed", **values)


def give_back(session: Session, prediction_id: str, attempt: int) -> bool:
    """Let go of a prediction before its end, as at SIGTERM; what is kept of it stays. False if it is fenced."""
    return _change(session, prediction_id, attempt, **LET_GO)


def lose(session: Session, prediction_id: str, attempt: int, max_attempts: int, reason: str) -> bool:
    """Take a prediction from a worker that died, counted: it fails once `max_attempts` were lost. False if fenced."""
    held = select(Prediction.losses).where(*_fence(prediction_id, attempt)).with_for_update()
    losses = session.scalar(held)
    if losses is None:
        return False
    told = [*losses, f"Attempt {attempt} was lost: {reason}"]
    if len(told) < max_attempts:
        return _change(session, prediction_id, attempt, losses=told, **LET_GO)
    message = f"The prediction was given up after {len(told)} lost attempts. {' '.join(told)}"
    values: dict[str, Any] = {"error_code": AttemptsExhausted.code, "error_message": message, "losses": told}
    return _end(session, prediction_id, attempt, status="failed", errors=[], **values)


def recover(session: Session, max_attempts: int) -> list[str]:
    """Take every prediction whose lease ran out from its worker; return their ids, whatever became of them."""
    lapsed = (Prediction.status == "running", Prediction.lease_expires_at < now())
    query = select(Prediction.id, Prediction.attempt, Prediction.worker).where(*lapsed).order_by(Prediction.id)
    rows = session.execute(query.limit(RECOVER_AT_ONCE).with_for_update(skip_locked=True)).tuples().all()
    for prediction_id, attempt, worker in rows:
        lose(session, prediction_id, attempt, max_attempts, f"worker {worker} was silent for longer than its lease.")
    return [prediction_id for prediction_id, _, _ in rows]


def held_by(session: Session, worker: str) -> Sequence[Prediction]:
    """Return the predictions that a worker owns."""
    owned = select(Prediction).where(Prediction.worker == worker, Prediction.status == "running")
    return session.scalars(owned.order_by(Prediction.id)).all()


def _end(session: Session, prediction_id: str, attempt: int, **values: Any) -> bool:
    ended = _change(session, prediction_id, attempt, **{**ENDED, "worker": None}, **values)
    if ended:
        drop_parts(session, prediction_id)
    return ended


def _change(session: Session, prediction_id: str, attempt: int, **values: Any) -> bool:
    change = update(Prediction).where(*_fence(prediction_id, attempt)).values(**values).returning(Prediction.id)
    return session.scalar(change, execution_options=QUIETLY) is not None


def _fence(prediction_id: str, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return Prediction.id == prediction_id, Prediction.attempt == attempt, Prediction.status == "running"
