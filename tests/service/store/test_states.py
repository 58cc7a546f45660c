"""The states of a job: the table, and that nothing changes a state against it."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

from service.store import events, jobs
from service.store.engine import Store
from service.store.states import LET_GO, OWNED, TERMINAL, TRANSITIONS, move
from service.store.tables import JOB_STATES, Job

DESIGN = {
    ("queued", "running"), ("running", "succeeded"), ("running", "failed"), ("running", "cancelled"),
    ("running", "pausing"), ("pausing", "paused"), ("paused", "queued"), ("running", "cancelling"),
    ("cancelling", "cancelled"),
}  # fmt: skip


def test_the_table_knows_every_state() -> None:
    assert set(TRANSITIONS) == set(JOB_STATES)
    assert set().union(*TRANSITIONS.values()) <= set(JOB_STATES)
    assert set(TERMINAL) == {"succeeded", "failed", "cancelled"}


def test_the_table_allows_what_the_design_says() -> None:
    assert {(state, following) for state in TRANSITIONS for following in TRANSITIONS[state]} >= DESIGN


def test_letting_go_follows_the_table() -> None:
    assert all(target in TRANSITIONS[state] for state, target in LET_GO.items())
    assert set(LET_GO) == set(OWNED)


@pytest.mark.parametrize("target", JOB_STATES)
def test_a_move_happens_only_where_the_table_has_it(store: Store, new_job: Callable[..., Job], target: str) -> None:
    ids = {state: new_job().id for state in JOB_STATES}
    with store.begin() as session:
        for state, job_id in ids.items():
            session.execute(update(Job).where(Job.id == job_id).values(status=state))
        moved = {state for state, job_id in ids.items() if move(session, job_id, target, "Test.") is not None}
    assert moved == {state for state, following in TRANSITIONS.items() if target in following}
    with store.read() as session:
        for state, job_id in ids.items():
            assert jobs.get(session, job_id).status == (target if state in moved else state)


def test_a_move_tells_its_event_and_cleans_up(store: Store, new_run: Callable[..., Job]) -> None:
    run = new_run()
    with store.begin() as session:
        moved = move(session, run.id, "failed", "Why.", level="error", data={"a": 1}, error_code="x")
        assert moved is not None
        [*_, event] = events.since(session, run.id)
    assert (moved.status, moved.error_code, moved.lease_expires_at, moved.eta_seconds) == ("failed", "x", None, None)
    assert moved.finished_at is not None
    assert (event.type, event.level, event.message, event.attempt, event.data) == (
        "failed",
        "error",
        "Why.",
        1,
        {"a": 1},
    )
