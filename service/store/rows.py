"""Rows on their way in and out, whatever their table."""

from typing import TypeVar

from sqlalchemy.orm import Session

from service.errors import NotFound
from service.store.tables import Table

Row = TypeVar("Row", bound=Table)


def added(session: Session, row: Row) -> Row:
    """Add a row, and return it with what the database says of it, as its time."""
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def found(row: Row | None, what: str, name: str) -> Row:
    """Return a row that was looked for: the data set, job or whatever it is of this name.

    Raises:
        NotFound: There is none.
    """
    if row is None:
        raise NotFound(f"There is no {what} {name}.")
    return row
