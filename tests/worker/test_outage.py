"""Attempts that outlast a database that does not answer: they go on if their work is still theirs."""

import time

import pytest
from sqlalchemy.orm import Session

from service.errors import Unavailable
from service.settings import Settings
from service.store.engine import Store
from worker.outage import Lost, outlast


def attempts(store: Store, settings: Settings, failures: list[Exception], answers: list[bool]) -> list[bool]:
    """Return what the work was told each time, when it fails so often, and what the database says of its owner."""
    told: list[bool] = []

    def work(again: bool) -> None:
        told.append(again)
        if failures:
            raise failures.pop(0)

    def owns(session: Session, seconds: float) -> bool:
        assert seconds >= 0
        if not answers:
            raise Unavailable("The database does not answer.")
        return answers.pop(0)

    outlast(store, settings, "job_1: attempt 1", work, owns)
    return told


def test_work_goes_on_as_often_as_the_database_comes_back(sqlite_store: Store, settings: Settings) -> None:
    away: list[Exception] = [Unavailable("away"), Unavailable("away")]
    assert attempts(sqlite_store, settings, away, [True, True]) == [False, True, True]


@pytest.mark.parametrize("first", [True, False])
def test_work_that_is_not_ours_any_more_ends(sqlite_store: Store, settings: Settings, first: bool) -> None:
    failures: list[Exception] = [Lost("job_1")] if first else [Unavailable("away"), Lost("job_1")]
    assert attempts(sqlite_store, settings, failures, [True]) == ([False] if first else [False, True])
    assert attempts(sqlite_store, settings, [Unavailable("away")], [False]) == [False]


def test_a_database_that_stays_away_is_left(sqlite_store: Store, settings: Settings) -> None:
    brief, began = settings.model_copy(update={"outage_seconds": 0.2}), time.monotonic()
    assert attempts(sqlite_store, brief, [Unavailable("away")], []) == [False]
    assert 0.2 <= time.monotonic() - began < 10
