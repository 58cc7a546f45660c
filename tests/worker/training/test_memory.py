"""Memory that runs out is told as that, with the estimate: a real allocation that the system refuses."""

import os
import subprocess
import sys

import pytest
import torch

from service.failures import OutOfMemory
from service.memory import TrainingMemory
from service.settings import Settings
from service.store import jobs
from service.store.engine import Store
from service.store.tables import Dataset
from tests.worker.conftest import AtStep
from tests.worker.runs import SPEC, attempt, changed, queue
from worker.training.memory import ran_out, told_apart

MEMORY = TrainingMemory(weights_bytes=1 << 20, beside_bytes=4 << 20, row_bytes=1 << 20, data_bytes=1 << 20)
RUN = """
import resource, sys
from service.settings import Settings
from service.store import jobs
from service.store.engine import open_store
from worker.training.attempt import run_attempt

store = open_store(sys.argv[1])
with store.begin() as session:
    job = jobs.claim(session, "tight", 30)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, used + 2**31))
run_attempt(store, Settings(database_url=sys.argv[1]), job)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on a process's memory is Linux's")
def test_a_job_that_the_system_refuses_memory_fails_with_the_estimate(
    sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    spec = changed(training={"batch_size": "all"})
    spec["network"]["layers"][0]["units"] = 2_000_000
    job_id = queue(sqlite_store, wine, spec)
    environment = os.environ | {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}  # every thread takes a stack
    subprocess.run(
        [sys.executable, "-c", RUN, settings.effective_database_url], check=True, timeout=120, env=environment
    )
    with sqlite_store.read() as session:
        job = jobs.get(session, job_id)
    assert (job.status, job.error_code) == ("failed", "out_of_memory"), job.error_message
    assert "GiB by estimate" in str(job.error_message) and "training.batch_size" in str(job.error_message)


def test_a_tensor_that_nobody_can_hold_is_recognised() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 50)
    assert ran_out(refused.value)
    assert (
        ran_out(MemoryError()) and not ran_out(RuntimeError("shapes cannot be multiplied")) and not ran_out(OSError())
    )


def test_a_device_that_has_no_room_fails_the_job_with_the_estimate_and_leaves_the_worker_to_others(
    sqlite_store: Store, settings: Settings, wine: Dataset, at_step: AtStep
) -> None:
    """What CUDA's allocator raises, in the middle of an epoch."""

    def refuse() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    first, next_one = (queue(sqlite_store, wine, SPEC) for _ in range(2))
    at_step(10, refuse)
    job = attempt(sqlite_store, settings, first)
    assert (job.status, job.error_code) == ("failed", "out_of_memory")
    message = str(job.error_message)
    assert "by estimate" in message and "for batches of 16 rows" in message and "Tried to allocate 20.00 MiB" in message
    assert "Try a smaller" in message
    at_step(-1, refuse)
    assert attempt(sqlite_store, settings, next_one).status == "succeeded"


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), told_apart(MEMORY, 3):
        print(1 / 0)


@pytest.mark.parametrize(
    ("memory", "rows", "words"),
    [(None, 0, "while the data were read"), (MEMORY, 100, "a smaller training.batch_size"), (MEMORY, 1, "network")],
)
def test_the_sentence_says_what_to_change(memory: TrainingMemory | None, rows: int, words: str) -> None:
    with pytest.raises(OutOfMemory, match=words), told_apart(memory, rows):
        raise MemoryError
