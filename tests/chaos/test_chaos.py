"""Jobs under random kills, wipes and restarts: none lost, none doubled, none stuck, each with its own bits.

The long form is `make chaos ROUNDS=n`: rounds of 200 jobs on 3 workers, each with a seed of its own. What is run with
the other tests is a short round of a fixed seed.
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store import jobs
from tests.chaos.calm import Calm
from tests.chaos.drawn import drawn
from tests.chaos.fleet import Fleet, until
from tests.chaos.monkey import Monkey
from tests.conftest import DATABASES
from tests.worker.runs import outcome

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "0"))
JOBS, WORKERS, EPOCHS, DEEDS = (200, 3, 60, 150) if ROUNDS else (6, 2, 40, 6)
PAUSE = (0.5, 3.0)
LONGEST = 4 * 3600.0 if ROUNDS else 600.0


@pytest.fixture(scope="module")
def fleet(home: Path, database: object) -> Iterator[Fleet]:
    """A server and some workers."""
    fleet = Fleet(home, database, WORKERS)  # type: ignore[arg-type]
    yield fleet
    fleet.close()


@pytest.mark.parametrize("database", DATABASES, indirect=True)
@pytest.mark.parametrize("seed", range(1, max(ROUNDS, 1) + 1))
def test_every_job_ends_as_if_nothing_had_happened(fleet: Fleet, calm: Calm, wine_csv: bytes, seed: int) -> None:
    draw = random.Random(seed)
    dataset = fleet.upload(wine_csv)
    specs = [drawn(draw, EPOCHS) for _ in range(JOBS)]
    job_ids = [fleet.submit({**spec, "data": {**spec["data"], "dataset": dataset}}) for spec in specs]
    monkey, deadline = Monkey(fleet, seed, job_ids), time.monotonic() + LONGEST
    while not _all_ended(fleet, job_ids) and len(monkey.deeds) < DEEDS:
        time.sleep(draw.uniform(*PAUSE))
        monkey.disturb()
    monkey.rest()
    for job_id in job_ids:
        monkey.resume(job_id)
    until(lambda: _all_ended(fleet, job_ids), lambda: _stuck(fleet, job_ids), deadline - time.monotonic())

    ended = [fleet.job(job_id) for job_id in job_ids]
    assert [(job.status, job.error_message) for job in ended] == [("succeeded", None)] * JOBS, monkey.deeds
    different = [i for i in range(JOBS) if outcome(fleet.store, job_ids[i]) != calm.outcome(specs[i])]
    assert different == [], monkey.deeds
    models = {job.model for job in ended}
    assert len(models) == JOBS
    attempts, lost = sum(job.attempt for job in ended), sum(job.lost for job in ended)
    print(f"{JOBS} jobs, {len(monkey.deeds)} deeds, {attempts} attempts, {lost} of them lost: {JOBS} of {JOBS} equal")


def _all_ended(fleet: Fleet, job_ids: list[str]) -> bool:
    return all(fleet.job(job_id).status in jobs.TERMINAL for job_id in job_ids)


def _stuck(fleet: Fleet, job_ids: list[str]) -> str:
    found = [fleet.job(job_id) for job_id in job_ids]
    return "; ".join(f"{j.id} {j.status} {j.step} attempt {j.attempt}" for j in found if j.status not in jobs.TERMINAL)
