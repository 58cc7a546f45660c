"""Runs that are stopped by a command: they go on as if nothing had been, and no slot is lost to one that is stuck."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.store.tables import Job
from tests.chaos.fleet import NEVER, Database, Fleet, survived, until
from tests.conftest import DATABASES
from tests.worker.runs import changed

both = pytest.mark.parametrize("database", DATABASES, indirect=True)
# Nothing comes back to Python's loop over steps while L-BFGS searches through all rows, for minutes.
WIDE = {"type": "dense", "units": 2000}
ENDLESS = changed(
    optimizer={"type": "lbfgs", "iterations": 1000, "history": 1},
    network={"layers": [WIDE, WIDE, WIDE, {"type": "dense", "units": "auto"}]},
    training={"batch_size": "all", "epochs": 1},
)


@pytest.fixture(scope="module")
def fleet(home: Path, database: Database) -> Iterator[Fleet]:
    """A server and one worker, with one slot."""
    fleet = Fleet(home, database, workers=1, lease_seconds=NEVER)
    yield fleet
    fleet.close()


@both
@pytest.mark.parametrize(("stop", "again"), [("pause", "resume"), ("cancel", "retry"), ("kill", "retry")])
def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bits(
    fleet: Fleet, submit: Callable[[], str], undisturbed: Any, stop: str, again: str
) -> None:
    job_id = submit()
    fleet.running(job_id)
    began = time.monotonic()
    fleet.tell(job_id, stop)
    at_rest = {"pause": "paused"}.get(stop, "cancelled")
    fleet.wait_for(job_id, lambda job: job.status == at_rest)
    assert time.monotonic() - began < 10
    assert fleet.tell(job_id, again) == "queued"
    job = survived(fleet, job_id, undisturbed)
    assert (job.attempt, job.lost) == (2, 0)


@both
def test_a_run_that_is_killed_in_a_step_that_never_ends_is_ended(
    fleet: Fleet, ends_as_in_peace: Callable[[], Job], wine_csv: bytes
) -> None:
    stuck = fleet.submit({**ENDLESS, "data": {**ENDLESS["data"], "dataset": fleet.upload(wine_csv)}})
    child = psutil.Process(fleet.holder(stuck))
    worker = fleet.parent_of(child.pid)
    until(lambda: "training" in fleet.story(stuck), "it does not begin")
    before = child.cpu_times().user
    until(lambda: child.cpu_times().user > before + 2.0, "it does not come to its step")
    assert fleet.tell(stuck, "kill") == "cancelled"
    assert ends_as_in_peace().attempt == 1  # there is one slot, and it is free again
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert worker.poll() is None
