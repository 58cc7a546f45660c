"""A job that kills whoever trains it is given up with the reason of each time, and nobody else waits for it."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.store import jobs
from tests.chaos.fleet import NEVER, Database, Fleet, until
from tests.conftest import DATABASES
from tests.worker.runs import changed

ATTEMPTS = 3
LONG = changed(training={"epochs": 100_000, "checkpoint_seconds": 0.2})
SHORT = changed(training={"epochs": 20})


@pytest.fixture(scope="module")
def fleet(home: Path, database: Database) -> Iterator[Fleet]:
    """A server and two workers that give a job up after three attempts."""
    fleet = Fleet(home, database, max_attempts=ATTEMPTS, lease_seconds=NEVER)
    yield fleet
    fleet.close()


@pytest.mark.parametrize("database", DATABASES, indirect=True)
def test_a_job_that_crashes_its_process_each_time_is_given_up(fleet: Fleet, wine_csv: bytes) -> None:
    dataset = fleet.upload(wine_csv)
    poison = fleet.submit({**LONG, "data": {**LONG["data"], "dataset": dataset}})
    others = [fleet.submit({**SHORT, "data": {**SHORT["data"], "dataset": dataset}}) for _ in range(4)]
    for attempt in range(1, ATTEMPTS + 1):
        fleet.wait_for(poison, lambda job, n=attempt: job.attempt == n and job.status == "running")  # type: ignore[misc]
        with suppress(ProcessLookupError):
            os.kill(fleet.holder(poison), signal.SIGSEGV)
        fleet.wait_for(poison, lambda job, n=attempt: job.lost == n)  # type: ignore[misc]
    job = fleet.ended(poison)
    assert (job.status, job.error_code, job.attempt) == ("failed", "attempts_exhausted", ATTEMPTS)
    message = str(job.error_message)
    assert message.count("(SIGSEGV)") == ATTEMPTS and all(f"Attempt {n} was lost" in message for n in (1, 2, 3))
    assert fleet.story(poison).count("lost") == ATTEMPTS
    assert all(fleet.ended(other).status == "succeeded" for other in others)

    # Whoever has mended what was wrong has it tried again, with all of its attempts.
    assert fleet.client.post(f"/v1/jobs/{poison}/retry").status_code == 200
    until(lambda: fleet.job(poison).status == "running", "it is not tried again")
    assert fleet.client.post(f"/v1/jobs/{poison}/kill").status_code == 200
    assert fleet.ended(poison).status in jobs.TERMINAL
