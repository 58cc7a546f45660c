"""Aliases: names like `wine@production` that lead to a model, and the next moment may lead to another one."""

from typing import NamedTuple

from sqlalchemy import delete as delete_from
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.store import models
from service.store.alias_tables import Alias
from service.store.clock import now
from service.store.rows import found
from service.store.tables import Model
from service.store.upserts import upsert

SEPARATOR = "@"
"""What is in every alias, and in no id."""


class AliasPage(NamedTuple):
    """Some aliases, and whether more follow."""

    rows: list[Alias]
    has_more: bool


def is_alias(reference: str) -> bool:
    """Return whether what names a model is an alias, and not an id."""
    return SEPARATOR in reference


def resolve(session: Session, reference: str) -> str:
    """Return the id of the model that an id or an alias names; that a model has the id is not looked up.

    Raises:
        NotFound: There is no such alias.
    """
    return get(session, reference).model if is_alias(reference) else reference


def get(session: Session, name: str) -> Alias:
    """Return an alias.

    Raises:
        NotFound: There is no such alias.
    """
    return found(session.get(Alias, name, populate_existing=True), "alias", name)


def model(session: Session, reference: str) -> Model:
    """Return the model that an id or an alias names.

    Raises:
        NotFound: There is no such model or alias.
    """
    return models.get(session, resolve(session, reference))


def put(session: Session, name: str, model_id: str) -> Alias:
    """Let a name lead to a model, whatever it led to before: readers see the old model or the new, never none.

    Raises:
        NotFound: There is no such model.
    """
    models.hold(session, model_id)
    insert = upsert(session, Alias).values(name=name, model=model_id)
    moved = {"model": model_id, "updated_at": now()}
    session.execute(insert.on_conflict_do_update(index_elements=["name"], set_=moved, where=Alias.model != model_id))
    return get(session, name)


def list_page(session: Session, limit: int, after: str | None = None, model_id: str | None = None) -> AliasPage:
    """Return at most `limit` aliases in the order of their names, from the one behind `after` on."""
    query = select(Alias).order_by(Alias.name).limit(limit + 1)
    if after is not None:
        query = query.where(Alias.name > after)
    if model_id is not None:
        query = query.where(Alias.model == model_id)
    rows = list(session.scalars(query))
    return AliasPage(rows[:limit], len(rows) > limit)


def delete(session: Session, name: str) -> None:
    """Delete an alias; its model stays.

    Raises:
        NotFound: There is no such alias.
    """
    get(session, name)
    session.execute(delete_from(Alias).where(Alias.name == name))
