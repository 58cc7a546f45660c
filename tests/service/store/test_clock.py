"""The clock: that of the database, in seconds, going on inside a transaction."""

import time

from sqlalchemy import select

from service.store.clock import now
from service.store.engine import Store


def test_the_clock_shows_seconds_since_1970(store: Store) -> None:
    before = time.time()
    with store.read() as session:
        shown = session.scalars(select(now())).one()
    assert before - 0.01 <= shown <= time.time() + 0.01
    assert isinstance(shown, float)


def test_the_clock_goes_on_inside_a_transaction(store: Store) -> None:
    """A lease written at the end of a long transaction must not have begun at its start."""
    with store.read() as session:
        first = session.scalars(select(now())).one()
        time.sleep(0.02)
        assert session.scalars(select(now())).one() > first
