"""Every command in every state: what becomes of the job, what is told, and what is refused."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from service.errors import NotFound, WrongState
from service.store import commands, datasets, events, jobs
from service.store.commands import COMMANDS
from service.store.engine import Store
from service.store.states import OWNED, TERMINAL, TRANSITIONS
from service.store.tables import JOB_STATES, Dataset, Job

NewJob = Callable[..., Job]

TABLE = {
    # state:      pause      resume     cancel        kill         retry
    "queued": ("paused", "queued", "cancelled", "cancelled", "queued"),
    "running": ("pausing", "running", "cancelling", "cancelled", "running"),
    "pausing": ("pausing", "running", "cancelling", "cancelled", None),
    "paused": ("paused", "queued", "cancelled", "cancelled", None),
    "cancelling": (None, None, "cancelling", "cancelled", None),
    "succeeded": (None, None, "succeeded", "succeeded", None),
    "failed": (None, None, "failed", "failed", "queued"),
    "cancelled": (None, None, "cancelled", "cancelled", "queued"),
}
"""What becomes of a job in each state; None: refused."""
CASES = [(state, name, after) for state, row in TABLE.items() for name, after in zip(COMMANDS, row, strict=True)]


def set_status(store: Store, job_id: str, status: str) -> None:
    with store.begin() as session:
        owner = {"worker": "w1", "lease_expires_at": 9e9, "attempt": 1} if status in OWNED else {}
        over = {"finished_at": 1.0} if status in TERMINAL else {}
        why = {"error_code": "internal_error", "error_message": "Why.", "lost": 2} if status == "failed" else {}
        session.execute(update(Job).where(Job.id == job_id).values(status=status, **owner, **over, **why))


def test_the_table_is_whole_and_follows_the_states() -> None:
    assert set(TABLE) == set(JOB_STATES)
    changes = [(state, after) for state, _, after in CASES if after not in (None, state)]
    assert all(after in TRANSITIONS[state] for state, after in changes)


@pytest.mark.parametrize(("state", "name", "after"), CASES)
def test_every_command_in_every_state(
    store: Store, new_job: NewJob, new_dataset: Callable[..., Dataset], state: str, name: str, after: str | None
) -> None:
    job = new_job(dataset=new_dataset().id)
    set_status(store, job.id, state)
    if after is None:
        with store.begin() as session, pytest.raises(WrongState, match=f"{job.id} is {state}: a job can"):
            commands.give(session, job.id, name)
        after = state
    for _ in range(2):
        if after != state:
            with store.begin() as session:
                assert commands.give(session, job.id, name).status == after
    with store.read() as session:
        found = jobs.get(session, job.id)
        told = [event.type for event in events.since(session, job.id)][1:]
    assert found.status == after
    assert len(told) == (after != state)
    assert (found.finished_at is not None) == (after in TERMINAL)
    if name == "retry" and after != state:
        assert (found.lost, found.error_code, found.error_message) == (0, None, None)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_job_that_is_not_there(store: Store, name: str) -> None:
    with store.begin() as session, pytest.raises(NotFound):
        commands.give(session, "job_none", name)


def test_a_retry_needs_its_data(store: Store, new_job: NewJob, new_dataset: Callable[..., Dataset]) -> None:
    dataset = new_dataset()
    job = new_job(dataset=dataset.id)
    set_status(store, job.id, "failed")
    with store.begin() as session:
        datasets.delete(session, dataset.id)
    with store.begin() as session, pytest.raises(WrongState, match=r"its data set ds_.* was deleted"):
        commands.give(session, job.id, "retry")
    with store.read() as session:
        assert jobs.get(session, job.id).status == "failed"


def test_a_killed_run_owns_nothing_any_more(store: Store, new_run: NewJob) -> None:
    run = new_run()
    with store.begin() as session:
        commands.give(session, run.id, "kill")
    with store.begin() as session:
        assert not jobs.own(session, run.id, run.attempt)
        assert jobs.renew(session, run.id, run.attempt, 30) is None


def test_a_pause_withdrawn_in_time_never_happened(store: Store, new_run: NewJob) -> None:
    run = new_run()
    with store.begin() as session:
        commands.give(session, run.id, "pause")
        commands.give(session, run.id, "resume")
    with store.begin() as session:
        assert jobs.owned_status(session, run.id, run.attempt) == "running"


@pytest.mark.parametrize("name", ["cancel", "pause", "kill"])
def test_a_command_and_a_claim_at_once_leave_one_of_two_truths(store: Store, new_job: NewJob, name: str) -> None:
    def give(job_id: str) -> None:
        with store.begin() as session:
            commands.give(session, job_id, name)

    def claim(_: str) -> str | None:
        with store.begin() as session:
            job = jobs.claim(session, "w", 30)
            return job.id if job else None

    ids = [new_job().id for _ in range(10)]
    with ThreadPoolExecutor(4) as threads:
        given = [threads.submit(give, job_id) for job_id in ids]
        claimed = {call.result() for call in [threads.submit(claim, job_id) for job_id in ids]} - {None}
        for call in given:
            call.result()
    asked, waited = {"cancel": ("cancelling", "cancelled"), "pause": ("pausing", "paused")}.get(
        name, ("cancelled", "cancelled")
    )
    with store.read() as session:
        for job_id in ids:
            assert jobs.get(session, job_id).status == (asked if job_id in claimed else waited)
