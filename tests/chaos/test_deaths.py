"""Each way to die, and what is left of it afterwards: nothing. The job ends with the bits of an undisturbed one."""

import os
import re
import signal
import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from service.queue import Queue
from service.stack import worker_commands
from service.store.tables import Job, Worker
from tests.chaos.fleet import LEASE_SECONDS, PATIENCE, Fleet, family, survived, until
from tests.conftest import DATABASES
from tests.worker.runs import changed

OUTAGE_SECONDS = float(os.environ.get("CHAOS_OUTAGE_SECONDS", "5"))
"""How long the database is away; longer than a lease."""

SHIFTS = ("86400", "-86400")
"""By how many seconds clocks are wrong."""

both = pytest.mark.parametrize("database", DATABASES, indirect=True)
on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@both
def test_a_child_is_killed(fleet: Fleet, submit: Callable[[], str], undisturbed: Any) -> None:
    job_id = submit()
    fleet.running(job_id)
    os.kill(fleet.holder(job_id), signal.SIGKILL)
    job = survived(fleet, job_id, undisturbed)
    assert (job.attempt, job.lost) == (2, 1)
    told = fleet.events(job_id)
    (lost,) = [event["message"] for event in told if event["type"] == "lost"]
    assert "as the system does when memory runs out (SIGKILL)" in lost and "by estimate" in lost
    story = [event["type"] for event in told]
    assert story.index("claimed") < story.index("lost") < story.index("resumed") < story.index("succeeded")


@both
def test_a_whole_worker_is_killed(fleet: Fleet, submit: Callable[[], str], undisturbed: Any) -> None:
    job_id = submit()
    fleet.running(job_id)
    worker = fleet.parent_of(fleet.holder(job_id))
    below = family(worker.pid)
    worker.kill()
    until(lambda: not any(map(family, below - {worker.pid})), "a child outlived its parent")
    fleet.replace(worker)
    assert survived(fleet, job_id, undisturbed).attempt == 2


@both
def test_a_worker_is_told_to_end(fleet: Fleet, submit: Callable[[], str], undisturbed: Any) -> None:
    job_id = submit()
    at = fleet.running(job_id)
    worker, began = fleet.parent_of(fleet.holder(job_id)), time.monotonic()
    worker.terminate()
    worker.wait(timeout=PATIENCE)
    assert time.monotonic() - began < 10
    fleet.replace(worker)
    job = survived(fleet, job_id, undisturbed)
    assert (job.attempt, job.lost) == (2, 0)
    told = {event["type"]: event for event in fleet.events(job_id)}
    assert told["resumed"]["data"]["step"] >= at.step  # it lost nothing of what was done


@both
def test_the_server_is_killed(fleet: Fleet, submit: Callable[[], str], undisturbed: Any) -> None:
    job_id = submit()
    fleet.running(job_id)
    fleet.restart_server()
    assert survived(fleet, job_id, undisturbed).attempt == 1
    until(fleet.answers, "the server did not come back")


@both
def test_a_server_that_dies_while_it_answers_loses_and_doubles_nothing(fleet: Fleet, wine_csv: bytes) -> None:
    until(fleet.answers, "the fleet is not ready")
    spec = changed(training={"epochs": 1}, data={"dataset": fleet.upload(wine_csv)})
    first = fleet.submit(spec, **{"Idempotency-Key": "once"})
    fleet.restart_server()
    until(fleet.answers, "the server did not come back")
    assert fleet.submit(spec, **{"Idempotency-Key": "once"}) == first
    assert fleet.ended(first).status == "succeeded"


@both
@pytest.mark.parametrize("wipe", ["flush", "new"])
def test_redis_loses_everything(
    fleet: Fleet, submit: Callable[[], str], undisturbed: Any, ends_as_in_peace: Callable[[], Job], wipe: str
) -> None:
    job_id = submit()
    fleet.running(job_id)
    fleet.flush_redis() if wipe == "flush" else fleet.new_redis()
    assert ends_as_in_peace().attempt == 1
    assert survived(fleet, job_id, undisturbed).attempt == 1


@both
def test_a_message_comes_five_times(fleet: Fleet, submit: Callable[[], str], undisturbed: Any) -> None:
    job_id = submit()
    messages = Queue(fleet.settings.effective_broker_url)
    for _ in range(5):
        assert messages.enqueue(job_id)
    messages.close()
    job = survived(fleet, job_id, undisturbed)
    assert (job.attempt, fleet.story(job_id).count("claimed")) == (1, 1)


@both
def test_one_that_was_stopped_wakes_when_another_owns_its_job(
    fleet: Fleet, submit: Callable[[], str], undisturbed: Any, ends_as_in_peace: Callable[[], Job]
) -> None:
    job_id = submit()
    fleet.running(job_id)
    sleeper = fleet.holder(job_id)
    worker = fleet.parent_of(sleeper)
    fleet.freeze(sleeper)
    fleet.wait_for(job_id, lambda job: job.attempt == 2 and job.step > 60)
    os.kill(sleeper, signal.SIGCONT)
    job = survived(fleet, job_id, undisturbed)
    assert (job.attempt, job.lost) == (2, 1)
    assert worker.poll() is None
    # It notices by itself that it has lost the job, and takes others.
    other = submit()
    ends_as_in_peace()
    survived(fleet, other, undisturbed)


@on_postgresql
def test_the_database_is_restarted(fleet: Fleet, submit: Callable[[], str], undisturbed: Any) -> None:
    job_id = submit()
    fleet.running(job_id)
    fleet.database.stop()
    fleet.database.start()
    job = survived(fleet, job_id, undisturbed)
    assert job.lost == 0


@on_postgresql
def test_the_database_is_away_for_longer_than_a_lease(
    fleet: Fleet, submit: Callable[[], str], undisturbed: Any
) -> None:
    job_id = submit()
    fleet.running(job_id)
    fleet.database.stop()
    try:
        time.sleep(max(OUTAGE_SECONDS, LEASE_SECONDS + 1))
        answer = fleet.client.get(f"/v1/jobs/{job_id}")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    finally:
        fleet.database.start()
    job = survived(fleet, job_id, undisturbed)
    assert (job.attempt, job.lost) == (1, 0)
    assert "outage" in fleet.story(job_id)


@on_postgresql
def test_clocks_differ(
    fleet: Fleet,
    submit: Callable[[], str],
    undisturbed: Any,
    ends_as_in_peace: Callable[[], Job],
) -> None:
    """A day ahead and a day behind: leases are measured by the database's clock alone."""
    regular = list(fleet.workers)
    (command,) = worker_commands(fleet.settings).values()
    shifted = [fleet.start("shifted", [*command[:2], "tests.support.shifted", by, *command[2:]]) for by in SHIFTS]
    fleet.workers.extend(shifted)
    try:
        until(lambda: all(_is_known(fleet, worker.pid) for worker in shifted), "the others do not come up")
        for worker in regular:
            worker.terminate()
            worker.wait(timeout=PATIENCE)
            fleet.workers.remove(worker)
        for job in (survived(fleet, submit(), undisturbed), ends_as_in_peace(), ends_as_in_peace()):
            assert (job.attempt, job.lost) == (1, 0)
            assert int(str(job.worker).split("/")[1]) in {worker.pid for worker in shifted}
        said = re.findall(r"\[(\d{4}-\d\d-\d\d) ", (fleet.home / "shifted.log").read_text())
        days = {date.fromisoformat(day) for day in said}
        assert max(days) - min(days) >= timedelta(days=2)
    finally:
        for worker in shifted:
            worker.terminate()
            worker.wait(timeout=PATIENCE)
            fleet.workers.remove(worker)
        for _ in regular:
            fleet.start_worker()


def _is_known(fleet: Fleet, pid: int) -> bool:
    with fleet.store.read() as session:
        return session.scalar(select(Worker.pid).where(Worker.pid == pid)) is not None
