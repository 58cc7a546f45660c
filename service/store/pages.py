"""Pages of a list, newest first. Ids are ordered by time, so an id is the cursor."""

import re
from typing import Generic, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from service.errors import InvalidInput, Problem
from service.store.prediction_tables import Prediction
from service.store.tables import Checkpoint, Dataset, Job, Model
from service.store.webhook_tables import Delivery, Webhook
from service.store.weight_tables import Weights

Row = TypeVar("Row", Dataset, Job, Checkpoint, Model, Webhook, Delivery, Weights, Prediction)


class Page(NamedTuple, Generic[Row]):
    """Some rows of a list, and whether older ones follow."""

    rows: list[Row]
    has_more: bool


def page(
    session: Session, table: type[Row], limit: int, after: str | None = None, *where: ColumnElement[bool]
) -> Page[Row]:
    """Return at most `limit` rows that are older than the row `after`, newest first, filtered before they are paged.

    `after` may name a row that has been deleted since: its id still says where the page begins.

    Raises:
        InvalidInput: `after` is not an id of this table.
    """
    query = select(table).where(*where).order_by(table.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(table.id < _cursor(table, after))
    rows = list(session.scalars(query))
    return Page(rows[:limit], len(rows) > limit)


def _cursor(table: type[Row], after: str) -> str:
    if not re.fullmatch(rf"{table.id_prefix}_[0-9a-hjkmnp-tv-z]{{26}}", after):
        raise InvalidInput([Problem("after", "is not an id of this list", after[:100], f"{table.id_prefix}_..")])
    return after
