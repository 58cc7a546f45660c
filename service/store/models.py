"""Trained networks with everything needed to answer raw rows."""

from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.errors import InUse
from service.ids import new_id
from service.store.alias_tables import Alias
from service.store.blobs import BlobRef
from service.store.pages import Page, page
from service.store.prediction_tables import Prediction
from service.store.rows import added, found
from service.store.tables import Job, Model

NAMED_AT_MOST = 3


def insert(
    session: Session,
    *,
    job: str | None,
    name: str | None,
    spec: dict[str, Any],
    task: str,
    classes: list[Any] | None,
    columns: list[dict[str, Any]],
    preprocessing: dict[str, Any],
    metrics: dict[str, Any],
    receipt: dict[str, Any],
    weights: BlobRef,
    parameters: int,
    calibration: dict[str, Any] | None = None,
    model_id: str | None = None,
    members: int | None = None,
) -> Model:
    """Add the model of a job, in the transaction in which the job succeeds; without a job, one that came as a file.

    It is an ensemble where there are `members`.

    `weights` comes from `BlobWriter.finish` in the same transaction.
    """
    model = Model(
        id=model_id or new_id(Model.id_prefix),
        job=job,
        name=name,
        spec=spec,
        task=task,
        classes=classes,
        columns=columns,
        preprocessing=preprocessing,
        metrics=metrics,
        calibration=calibration,
        receipt=receipt,
        weights_sha256=weights.sha256,
        size=weights.size,
        parameters=parameters,
        members=members,
    )
    return added(session, model)


def get(session: Session, model_id: str) -> Model:
    """Return a model.

    Raises:
        NotFound: There is no such model.
    """
    return found(session.get(Model, model_id, populate_existing=True), "model", model_id)


def hold(session: Session, model_id: str) -> Model:
    """Return a model that nobody deletes before this transaction ends: for an alias about to lead to it.

    Raises:
        NotFound: There is no such model.
    """
    query = select(Model).where(Model.id == model_id).with_for_update(read=True)
    return found(session.scalar(query), "model", model_id)


def list_page(session: Session, limit: int, after: str | None = None) -> Page[Model]:
    """Return a page of the models, newest first."""
    return page(session, Model, limit, after)


def delete(session: Session, model_id: str) -> None:
    """Delete a model; its job stays and no longer names it.

    Raises:
        NotFound: There is no such model.
        InUse: An alias leads to it, or a prediction that has not ended needs it.
    """
    query = select(Model).where(Model.id == model_id).with_for_update()
    model = found(session.scalar(query), "model", model_id)
    aliases = select(Alias.name).where(Alias.model == model_id).order_by(Alias.name)
    names = session.scalars(aliases.limit(NAMED_AT_MOST)).all()
    if names:
        raise InUse(f"Model {model_id} is what {' and '.join(names)} leads to: let it lead elsewhere, or delete it.")
    open_ones = (Prediction.model == model_id, Prediction.status.in_(("queued", "running")))
    needing = session.scalars(
        select(Prediction.id).where(*open_ones).order_by(Prediction.id).limit(NAMED_AT_MOST)
    ).all()
    if needing:
        raise InUse(f"Model {model_id} is needed by predictions that have not ended, among them {', '.join(needing)}.")
    session.execute(update(Job).where(Job.id == model.job, Job.model == model_id).values(model=None))
    session.execute(delete_from(Model).where(Model.id == model_id))
