"""Jobs on several devices: a crew that is disturbed ends with the bits of one that is not, and leaves nobody behind."""

import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import pytest

from service.settings import Settings
from service.store import events, jobs, metrics
from service.store.engine import Store
from service.store.tables import Dataset
from tests.support.real_stack import eventually
from tests.worker.runs import attempt, changed, outcome, queue
from worker import draining
from worker.training.step import Step

TOGETHER = changed(training={"devices": 2, "epochs": 3, "checkpoint_steps": 4})
KILLED_OWNER = """
import os, signal, sys
from service.settings import Settings
from service.store import jobs
from service.store.engine import open_store
from worker.training.attempt import run_attempt
from worker.training.step import Step

take = Step.__call__
Step.__call__ = lambda self, batch, step: os.kill(os.getpid(), signal.SIGKILL) if step == 6 else take(self, batch, step)
store = open_store(sys.argv[1])
with store.begin() as session:
    job = jobs.claim(session, "there", 30)
run_attempt(store, Settings(database_url=sys.argv[1]), job)
"""


def helpers(owner: int) -> list[int]:
    """The helpers that a process started, wherever they are now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if "worker.crew" in words and words[-1] == str(owner):
                found.append(process.pid)
    return found


def curve(store: Store, job_id: str) -> dict[tuple[str, str, int], float]:
    """Every measured value of a job, by what, where and when."""
    with store.read() as session:
        return {(row.split, row.name, row.step): row.value for row in metrics.query(session, job_id)}


def test_a_crew_that_is_disturbed_ends_with_the_bits_of_one_that_is_not(
    sqlite_store: Store, settings: Settings, wine: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sqlite_store
    alone = queue(store, wine, changed(training={"epochs": 3}))
    attempt(store, settings, alone)
    whole = queue(store, wine, TOGETHER)
    receipt = attempt(store, settings, whole).receipt
    assert receipt is not None and receipt["devices"] == 2 and receipt["deterministic"]
    expected, found = curve(store, alone), curve(store, whole)
    assert found.keys() == expected.keys()
    assert all(math.isclose(found[key], value, rel_tol=1e-3, abs_tol=1e-4) for key, value in expected.items())

    broken = queue(store, wine, TOGETHER)
    kill_the_owner(store, settings, broken)
    disturb(monkeypatch, {9: draining.drain, 17: kill_the_helper})
    assert attempt(store, settings, broken).status == "queued"
    draining.resume()
    lost = attempt(store, settings, broken)
    assert (lost.status, lost.lost) == ("queued", 2) and not helpers(os.getpid())
    with store.read() as session:
        *_, told = [event.message for event in events.since(session, broken) if event.type == "lost"]
    assert "on device 2 of 2, the process that trained it" in told and "SIGKILL" in told
    assert attempt(store, settings, broken).attempt == 4
    assert outcome(store, broken) == outcome(store, whole) and not helpers(os.getpid())


def kill_the_owner(store: Store, settings: Settings, job_id: str) -> None:
    """Have a process of its own train the job, and be killed at a step; its helper is gone, too."""
    owner = subprocess.Popen([sys.executable, "-c", KILLED_OWNER, settings.effective_database_url])
    assert owner.wait() == -signal.SIGKILL
    assert eventually(lambda: not helpers(owner.pid), 10)
    with store.begin() as session:
        assert jobs.get(session, job_id).step == 4
        assert jobs.lose(session, job_id, 1, settings.max_attempts, "its process is gone") == "queued"


def disturb(monkeypatch: pytest.MonkeyPatch, actions: dict[int, Callable[[], None]]) -> None:
    """Have something happen, once each, right before steps."""
    original = Step.__call__

    def call(self: Any, batch: Any, step: int) -> Any:
        actions.pop(step, lambda: None)()
        return original(self, batch, step)

    monkeypatch.setattr(Step, "__call__", call)


def kill_the_helper() -> None:
    (helper,) = helpers(os.getpid())
    os.kill(helper, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on another process's memory is Linux's")
def test_a_helper_that_runs_out_of_memory_fails_the_job_with_the_reason(
    sqlite_store: Store, settings: Settings, wine: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def squeeze() -> None:
        (helper,) = helpers(os.getpid())
        most = psutil.Process(helper).memory_info().vms + 2**28
        resource.prlimit(helper, resource.RLIMIT_AS, (most, most))

    disturb(monkeypatch, {0: squeeze})
    spec = changed(training={"batch_size": "all", "devices": 2})
    spec["network"]["layers"][0]["units"] = 1_000_000
    job_id = queue(sqlite_store, wine, spec)
    job = attempt(sqlite_store, settings, job_id)
    assert (job.status, job.error_code) == ("failed", "out_of_memory"), job.error_message
    assert "It failed on device 2 of 2" in str(job.error_message) and not helpers(os.getpid())
    with sqlite_store.read() as session:
        assert jobs.get(session, job_id).lost == 0
