"""Owning a job: claimed once, fenced when lost, and every way a hold on it ends."""

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.store import commands, events, jobs
from service.store.clock import now
from service.store.engine import Store, open_store
from service.store.jobs import Progress
from service.store.tables import Job

NewJob = Callable[..., Job]


def types(store: Store, job_id: str) -> list[str]:
    with store.read() as session:
        return [event.type for event in events.since(session, job_id)]


def set_job(store: Store, job_id: str, **values: Any) -> None:
    with store.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**values))


def get(store: Store, job_id: str) -> Job:
    with store.read() as session:
        return jobs.get(session, job_id)


def seconds_left(store: Store, job_id: str) -> float:
    with store.read() as session:
        return session.scalars(select(Job.lease_expires_at - now()).where(Job.id == job_id)).one() or 0


# Claiming


def test_the_oldest_queued_job_is_claimed(store: Store, new_job: NewJob) -> None:
    first, second = new_job(), new_job()
    with store.begin() as session:
        claimed = jobs.claim(session, "w1", 30)
    assert claimed is not None
    assert (claimed.id, claimed.status, claimed.attempt, claimed.worker) == (first.id, "running", 1, "w1")
    assert claimed.started_at is not None
    assert 25 < seconds_left(store, first.id) <= 30
    assert types(store, first.id) == ["queued", "claimed"]
    with store.begin() as session:
        claimed = jobs.claim(session, "w2", 30)
        assert claimed is not None
        assert claimed.id == second.id
        assert jobs.claim(session, "w3", 30) is None


@pytest.mark.parametrize("status", [state for state in jobs.TRANSITIONS if state != "queued"])
def test_only_queued_jobs_are_claimed(store: Store, new_job: NewJob, status: str) -> None:
    set_job(store, new_job().id, status=status)
    with store.begin() as session:
        assert jobs.claim(session, "w1", 30) is None


def test_a_claim_that_is_rolled_back_leaves_the_job_queued(store: Store, new_job: NewJob) -> None:
    job = new_job()
    with pytest.raises(RuntimeError), store.begin() as session:
        jobs.claim(session, "w1", 30)
        raise RuntimeError
    assert (get(store, job.id).status, get(store, job.id).attempt) == ("queued", 0)


def test_another_claim_keeps_when_the_job_first_started(store: Store, new_run: NewJob) -> None:
    run = new_run()
    with store.begin() as session:
        jobs.give_back(session, run.id, 1)
        again = jobs.claim(session, "w2", 30)
    assert again is not None
    assert (again.attempt, again.worker, again.started_at) == (2, "w2", run.started_at)


def claim_all(store: Store, worker: str) -> list[str]:
    claimed: list[str] = []
    while True:
        with store.begin() as session:
            job = jobs.claim(session, worker, 30)
        if job is None:
            return claimed
        claimed.append(job.id)


def claim_all_in_process(url: str, worker: str, start: Any, answer: Any) -> None:
    store = open_store(url)
    start.wait()
    answer.put(claim_all(store, worker))
    store.dispose()


def test_threads_claim_every_job_once(store: Store, new_job: NewJob) -> None:
    ids = [new_job().id for _ in range(50)]
    start = threading.Barrier(8)

    def work(number: int) -> list[str]:
        start.wait()
        return claim_all(store, f"w{number}")

    with ThreadPoolExecutor(8) as threads:
        claimed = [job for found in threads.map(work, range(8)) for job in found]
    assert sorted(claimed) == ids
    assert {get(store, job).attempt for job in ids} == {1}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_processes_claim_every_job_once(store: Store, new_job: NewJob) -> None:
    ids = [new_job().id for _ in range(50)]
    fork = multiprocessing.get_context("fork")
    start, answer = fork.Barrier(8), fork.Queue()
    url = store.engine.url.render_as_string(hide_password=False)
    workers = [fork.Process(target=claim_all_in_process, args=(url, f"w{n}", start, answer)) for n in range(8)]
    for worker in workers:
        worker.start()
    claimed = [job for _ in workers for job in answer.get(timeout=60)]
    for worker in workers:
        worker.join()
    assert sorted(claimed) == ids
    assert {get(store, job).attempt for job in ids} == {1}


# Holding


def test_renewing_extends_the_lease_and_writes_the_progress(store: Store, new_run: NewJob) -> None:
    run = new_run()
    set_job(store, run.id, lease_expires_at=now() + 1)
    with store.begin() as session:
        assert jobs.renew(session, run.id, 1, 30, Progress(2, 64, 10, 320, 1000.0, 3.5)) == "running"
    job = get(store, run.id)
    assert 25 < seconds_left(store, run.id) <= 30
    assert (job.epoch, job.step, job.total_epochs, job.total_steps) == (2, 64, 10, 320)
    assert (job.samples_per_second, job.eta_seconds) == (1000.0, 3.5)


def test_renewing_without_progress_leaves_it(store: Store, new_run: NewJob) -> None:
    run = new_run()
    with store.begin() as session:
        jobs.renew(session, run.id, 1, 30, Progress(2, 64))
        jobs.renew(session, run.id, 1, 30)
    assert get(store, run.id).step == 64


@pytest.mark.parametrize("status", jobs.OWNED)
def test_renewing_tells_what_is_wished(store: Store, new_run: NewJob, status: str) -> None:
    run = new_run()
    set_job(store, run.id, status=status)
    with store.begin() as session:
        assert jobs.renew(session, run.id, 1, 30) == status
        assert jobs.own(session, run.id, 1)
        assert jobs.owned_status(session, run.id, 1) == jobs.seen_status(session, run.id, 1) == status


def test_an_attempt_whose_lease_ran_out_goes_on_if_nobody_took_the_job(store: Store, new_run: NewJob) -> None:
    run = new_run()
    set_job(store, run.id, lease_expires_at=0.0)
    with store.begin() as session:
        assert jobs.renew(session, run.id, 1, 30) == "running"
        assert jobs.recover(session, 3) == []


WRITES: dict[str, Callable[[Session, str, int], object]] = {
    "own": jobs.own,
    "owned_status": jobs.owned_status,
    "seen_status": jobs.seen_status,
    "renew": lambda session, job, attempt: jobs.renew(session, job, attempt, 30, Progress(9, 9)),
    "succeed": lambda session, job, attempt: jobs.succeed(session, job, attempt, "mdl_x", {}),
    "fail": lambda session, job, attempt: jobs.fail(session, job, attempt, "code", "Why."),
    "cancelled": jobs.cancelled,
    "give_back": jobs.give_back,
    "lose": lambda session, job, attempt: jobs.lose(session, job, attempt, 3, "Why."),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_an_old_attempt_can_write_nothing(
    store: Store, new_run: NewJob, write: Callable[[Session, str, int], object]
) -> None:
    run = new_run()
    with store.begin() as session:
        jobs.give_back(session, run.id, 1)
    fenced = [get(store, run.id)]  # queued again: nobody's
    with store.begin() as session:
        assert not write(session, run.id, 1)
        assert jobs.claim(session, "w2", 30) is not None
    fenced.append(get(store, run.id))  # another worker's
    with store.begin() as session:
        assert not write(session, run.id, 1)
    for before, status in zip(fenced, ("queued", "running"), strict=True):
        assert (before.status, before.step, before.model, before.error_code) == (status, 0, None, None)
    after = get(store, run.id)
    assert {c: getattr(after, c) for c in columns()} == {c: getattr(fenced[1], c) for c in columns()}
    assert types(store, run.id) == ["queued", "claimed", "queued", "claimed"]


def columns() -> list[str]:
    return [column.key for column in Job.__table__.columns]


@pytest.mark.parametrize("status", [state for state in jobs.TRANSITIONS if state not in jobs.OWNED])
def test_nobody_writes_to_a_job_that_no_worker_owns(store: Store, new_job: NewJob, status: str) -> None:
    job = new_job()
    set_job(store, job.id, status=status, attempt=1)
    for write in WRITES.values():
        with store.begin() as session:
            assert not write(session, job.id, 1)
        assert get(store, job.id).status == status


@contextmanager
def held_open(store: Store, job_id: str) -> Iterator[Session]:
    """A worker's transaction that owns the job and has not ended."""
    with store.begin() as session:
        assert jobs.own(session, job_id, 1)
        yield session


def test_a_job_cannot_be_taken_away_inside_a_transaction_that_owns_it(store: Store, new_run: NewJob) -> None:
    run = new_run()
    set_job(store, run.id, lease_expires_at=0.0)
    took = threading.Event()

    def recover() -> list[str]:
        with store.begin() as session:
            lost = jobs.recover(session, 3)
        took.set()
        return lost

    with ThreadPoolExecutor(1) as thread:
        with held_open(store, run.id) as session:
            other = thread.submit(recover)
            if store.engine.dialect.name == "postgresql":
                assert other.result(timeout=30) == []  # skipped, as somebody has it locked
            else:
                assert not took.is_set()
            assert jobs.renew(session, run.id, 1, 30) == "running"
        assert other.result(timeout=30) == []
    assert get(store, run.id).status == "running"


# Endings


def test_a_run_succeeds(store: Store, new_run: NewJob) -> None:
    run = new_run()
    with store.begin() as session:
        jobs.renew(session, run.id, 1, 30, Progress(1, 10, 1, 10, 500.0, 0.1))
        assert jobs.succeed(session, run.id, 1, "mdl_x", {"seed": 0})
    job = get(store, run.id)
    assert (job.status, job.model, job.receipt, job.lease_expires_at) == ("succeeded", "mdl_x", {"seed": 0}, None)
    assert (job.samples_per_second, job.eta_seconds) == (500.0, None)
    assert job.finished_at is not None
    assert types(store, run.id) == ["queued", "claimed", "succeeded"]


def test_a_run_fails_and_says_why(store: Store, new_run: NewJob) -> None:
    run = new_run()
    with store.begin() as session:
        assert jobs.fail(session, run.id, 1, "non_finite_loss", "The loss is NaN at step 7.")
    job = get(store, run.id)
    assert (job.status, job.error_code, job.error_message) == (
        "failed",
        "non_finite_loss",
        "The loss is NaN at step 7.",
    )
    with store.read() as session:
        event = events.since(session, run.id)[-1]
    assert (event.type, event.level, event.data) == ("failed", "error", {"code": "non_finite_loss"})


def test_a_run_to_be_cancelled_cannot_succeed(store: Store, new_run: NewJob) -> None:
    run = new_run()
    with store.begin() as session:
        commands.give(session, run.id, "cancel")
        assert not jobs.succeed(session, run.id, 1, "mdl_x", {})
        assert jobs.cancelled(session, run.id, 1)
    assert (get(store, run.id).status, get(store, run.id).model) == ("cancelled", None)


def test_a_run_to_be_cancelled_that_fails_is_cancelled(store: Store, new_run: NewJob) -> None:
    run = new_run()
    with store.begin() as session:
        commands.give(session, run.id, "cancel")
        assert jobs.fail(session, run.id, 1, "code", "Why.")
    assert (get(store, run.id).status, get(store, run.id).error_code) == ("cancelled", None)


def test_a_run_to_be_paused_that_ends_has_succeeded(store: Store, new_run: NewJob) -> None:
    run = new_run()
    set_job(store, run.id, status="pausing")
    with store.begin() as session:
        assert jobs.succeed(session, run.id, 1, "mdl_x", {})


LET_GO = [("running", "queued"), ("pausing", "paused"), ("cancelling", "cancelled")]


@pytest.mark.parametrize(("status", "then"), LET_GO)
def test_a_job_given_back_becomes_what_was_wished(store: Store, new_run: NewJob, status: str, then: str) -> None:
    run = new_run()
    set_job(store, run.id, status=status)
    with store.begin() as session:
        assert jobs.give_back(session, run.id, 1) == then
    job = get(store, run.id)
    assert (job.status, job.lost, job.worker, job.lease_expires_at) == (then, 0, None, None)
    assert types(store, run.id)[-1] == then


def test_giving_back_is_not_counted_as_a_loss(store: Store, new_run: NewJob) -> None:
    run = new_run()
    for attempt in range(1, 8):
        with store.begin() as session:
            assert jobs.give_back(session, run.id, attempt) == "queued"
            assert jobs.claim(session, "w", 30) is not None
    assert get(store, run.id).status == "running"


@pytest.mark.parametrize(("status", "then"), LET_GO)
def test_a_lost_job_becomes_what_was_wished(store: Store, new_run: NewJob, status: str, then: str) -> None:
    run = new_run()
    set_job(store, run.id, status=status)
    with store.begin() as session:
        assert jobs.lose(session, run.id, 1, 3, "the process was killed by signal 9.") == then
    job = get(store, run.id)
    assert (job.status, job.lost, job.worker) == (then, 1, None)
    with store.read() as session:
        *_, lost, after = events.since(session, run.id)
    assert (lost.type, lost.level, lost.attempt) == ("lost", "warn", 1)
    assert lost.message == "Attempt 1 was lost: the process was killed by signal 9."
    assert after.type == then


def test_a_job_that_was_lost_too_often_fails_with_what_happened_each_time(store: Store, new_run: NewJob) -> None:
    run = new_run()
    for attempt, reason in enumerate(("killed by signal 9.", "silent.", "killed by signal 11."), 1):
        with store.begin() as session:
            assert jobs.lose(session, run.id, attempt, 3, reason) == ("failed" if attempt == 3 else "queued")
            jobs.claim(session, "w", 30)
    job = get(store, run.id)
    assert (job.status, job.error_code, job.lost) == ("failed", "attempts_exhausted", 3)
    assert job.error_message == (
        "The job was given up after 3 lost attempts. Attempt 1 was lost: killed by signal 9."
        " Attempt 2 was lost: silent. Attempt 3 was lost: killed by signal 11."
    )
    assert types(store, run.id)[-2:] == ["lost", "failed"]


def test_a_job_to_be_cancelled_is_cancelled_whatever_the_count(store: Store, new_run: NewJob) -> None:
    run = new_run()
    set_job(store, run.id, status="cancelling")
    with store.begin() as session:
        assert jobs.lose(session, run.id, 1, 1, "silent.") == "cancelled"


# Recovery


def test_jobs_whose_lease_ran_out_are_recovered(store: Store, new_run: NewJob) -> None:
    lost, alive = new_run(), new_run()
    set_job(store, lost.id, lease_expires_at=now() - 0.1)
    with store.begin() as session:
        assert jobs.recover(session, 3) == [lost.id]
        assert jobs.recover(session, 3) == []
    assert (get(store, lost.id).status, get(store, alive.id).status) == ("queued", "running")
    with store.read() as session:
        [event] = [event for event in events.since(session, lost.id) if event.type == "lost"]
    assert event.message == "Attempt 1 was lost: worker w1 was silent for longer than its lease."


def test_jobs_that_nobody_holds_are_not_recovered(store: Store, new_job: NewJob) -> None:
    for status in set(jobs.TRANSITIONS) - set(jobs.OWNED):
        set_job(store, new_job().id, status=status, lease_expires_at=0.0)
    with store.begin() as session:
        assert jobs.recover(session, 3) == []


def test_many_reconcilers_recover_every_job_once(store: Store, new_run: NewJob) -> None:
    ids = sorted(new_run().id for _ in range(20))
    with store.begin() as session:
        session.execute(update(Job).values(lease_expires_at=0.0))
    start = threading.Barrier(6)

    def recover(_: int) -> list[str]:
        start.wait()
        with store.begin() as session:
            return jobs.recover(session, 3)

    with ThreadPoolExecutor(6) as threads:
        recovered = sorted(job for found in threads.map(recover, range(6)) for job in found)
    assert recovered == ids
    assert {get(store, job).lost for job in ids} == {1}


def test_what_a_worker_holds_can_be_found(store: Store, new_run: NewJob, new_job: NewJob) -> None:
    run, ended = new_run(), new_run()
    new_job()
    with store.begin() as session:
        jobs.cancelled(session, ended.id, 1)
    with store.read() as session:
        assert [job.id for job in jobs.held_by(session, "w1")] == [run.id]
        assert list(jobs.held_by(session, "w2")) == []
