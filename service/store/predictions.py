"""Predictions that are made later. What clients do to them is here; what workers do is in `prediction_attempts`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from service.errors import QueueFull, WrongState
from service.ids import new_id
from service.store import models, queueing
from service.store.clock import now
from service.store.pages import Page, page
from service.store.prediction_tables import Prediction, PredictionPart
from service.store.rows import added, found

ARRIVALS = 7_245_187_923_103
"""The PostgreSQL advisory lock by which predictions join the queue one after another."""
ENDED = {"input": None, "finished_at": now(), "lease_expires_at": None}
"""What is set when a prediction ends: it holds its rows no longer."""


def insert(
    session: Session,
    *,
    model: str,
    data_sha256: str,
    format: str,
    input: str,
    options: dict[str, Any],
    rows: int,
    most_queued: int,
    dataset: str | None = None,
    columns: list[dict[str, Any]] | None = None,
) -> Prediction:
    """Queue a prediction whose rows are the blob `input`, put there or held in the same transaction.

    Raises:
        NotFound: The model was deleted meanwhile.
        QueueFull: As many wait as may.
    """
    models.hold(session, model)
    queueing.wait_for_turn(session, ARRIVALS)
    waiting = session.scalar(select(func.count()).where(Prediction.status == "queued")) or 0
    if waiting >= most_queued:
        raise QueueFull(f"Predictions queued: {waiting}, as many as may wait here; try again later.")
    prediction = Prediction(
        id=new_id(Prediction.id_prefix),
        model=model,
        dataset=dataset,
        data_sha256=data_sha256,
        format=format,
        columns=columns,
        input=input,
        options=options,
        rows=rows,
    )
    return added(session, prediction)


def get(session: Session, prediction_id: str) -> Prediction:
    """Return a prediction.

    Raises:
        NotFound: There is no such prediction.
    """
    return found(session.get(Prediction, prediction_id, populate_existing=True), "prediction", prediction_id)


def list_page(
    session: Session, limit: int, after: str | None = None, status: str | None = None, model: str | None = None
) -> Page[Prediction]:
    """Return a page of the predictions, newest first; of one status or one model if they are named."""
    asked = ((Prediction.status, status), (Prediction.model, model))
    return page(session, Prediction, limit, after, *(column == value for column, value in asked if value is not None))


def cancel(session: Session, prediction_id: str) -> Prediction:
    """End a prediction that has not ended; whoever works on it finds that it is no longer theirs.

    Raises:
        NotFound: There is no such prediction.
    """
    open_one = (Prediction.id == prediction_id, Prediction.status.in_(("queued", "running")))
    ended = update(Prediction).where(*open_one).values(status="cancelled", **ENDED).returning(Prediction.id)
    if session.scalar(ended, execution_options={"synchronize_session": False}) is not None:
        drop_parts(session, prediction_id)
    return get(session, prediction_id)


def delete(session: Session, prediction_id: str) -> None:
    """Delete a prediction with its result.

    Raises:
        NotFound: There is no such prediction.
        WrongState: A worker is at it.
    """
    gone = delete_from(Prediction).where(Prediction.id == prediction_id, Prediction.status != "running")
    if session.scalar(gone.returning(Prediction.id), execution_options={"synchronize_session": False}) is None:
        get(session, prediction_id)
        raise WrongState(f"Prediction {prediction_id} is running; cancel it, then delete it.")


def oldest_queued(session: Session, limit: int) -> Sequence[str]:
    """Return the ids of the predictions that have waited longest."""
    waiting = select(Prediction.id).where(Prediction.status == "queued").order_by(Prediction.id)
    return session.scalars(waiting.limit(limit)).all()


def drop_parts(session: Session, prediction_id: str) -> None:
    """Let go of the parts of a prediction."""
    session.execute(delete_from(PredictionPart).where(PredictionPart.prediction == prediction_id))
