"""A real worker: Celery over a real Redis, its children killed, its parent told to stop."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from service.queue import Queue
from service.reconciler import reconcile
from service.settings import Settings
from service.store import commands, events, jobs, waiting, webhooks, workers
from service.store.engine import Store
from service.store.tables import Dataset, Job
from service.webhooks.signing import new_secret
from tests.support.receiver import receiving
from tests.worker.runs import SPEC, changed, outcome, put, queue

LONG = changed(training={"epochs": 150, "checkpoint_seconds": 0.1, "log_every_steps": None})
PATIENCE = 120.0


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings of a worker on this test's database and Redis."""
    return Settings(
        home=tmp_path, database_url=database_url, broker_url=redis_url, heartbeat_seconds=0.1, reconcile_seconds=0.3,
        webhook_allow_private=True,
    )  # fmt: skip


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., psutil.Process]]:
    """Start a worker, with slots of its own if they are named; all are stopped at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(devices: str = "auto") -> psutil.Process:
        with (tmp_path / "worker.log").open("ab") as log:
            command = [sys.executable, "-m", "worker"]
            environment = settings.environment() | {"OMP_NUM_THREADS": "1", "TRAINYARD_DEVICES": devices}
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        return psutil.Process(started[-1].pid)

    yield begin
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def wine(store: Store, wine_csv: bytes, tmp_path: Path) -> Dataset:
    """The wine data set, in the store of this test."""
    return put(store, tmp_path / "wine.csv", wine_csv)


def wait_for(store: Store, job_id: str, condition: Callable[[Job], bool]) -> Job:
    """Return the job once the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with store.read() as session:
            job = jobs.get(session, job_id)
        if condition(job):
            return job
        assert time.monotonic() < deadline, f"the job stays {job.status} at step {job.step}: {job.error_message}"
        time.sleep(0.02)


def ended(job: Job) -> bool:
    """Tell whether a job has ended."""
    return job.status in jobs.TERMINAL


def test_a_killed_child_costs_nothing_but_time(
    store: Store, settings: Settings, wine: Dataset, start: Callable[[], psutil.Process]
) -> None:
    parent, messages = start(), Queue(settings.effective_broker_url)
    whole, broken = queue(store, wine, LONG), queue(store, wine, LONG)
    assert messages.enqueue(whole)
    wait_for(store, whole, ended)
    wait_for(store, broken, lambda job: job.status == "running" and job.step > 100)
    os.kill(int(wait_for(store, broken, lambda job: True).worker.split("/")[-1]), signal.SIGKILL)  # type: ignore[union-attr]
    job = wait_for(store, broken, ended)
    assert job.attempt == 2 and job.lost == 1
    with store.read() as session:
        (lost,) = [event.message for event in events.since(session, broken) if event.type == "lost"]
    assert "as the system does when memory runs out (SIGKILL)" in lost and "by estimate" in lost
    assert outcome(store, broken) == outcome(store, whole)
    assert parent.is_running()
    messages.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_killed_child_takes_the_helpers_of_its_job_with_it(
    store: Store, settings: Settings, wine: Dataset, start: Callable[[], psutil.Process]
) -> None:
    start()
    messages = Queue(settings.effective_broker_url)
    job_id = queue(store, wine, changed(training={"epochs": 60, "checkpoint_seconds": 0.1, "devices": 2}))
    with store.read() as session:
        assert messages.enqueue(job_id, jobs.get(session, job_id).device)
    running = wait_for(store, job_id, lambda job: job.step > 100)
    child = psutil.Process(int(str(running.worker).split("/")[-1]))
    (helper,) = child.children()
    assert "worker.crew" in helper.cmdline()
    child.send_signal(signal.SIGKILL)
    assert psutil.wait_procs([helper], timeout=10)[1] == []
    assert (ended_job := wait_for(store, job_id, ended)).status == "succeeded", ended_job.error_message
    assert (ended_job.attempt, ended_job.lost) == (2, 1)
    messages.close()


@pytest.mark.parametrize(("stop", "again"), [("pause", "resume"), ("cancel", "retry"), ("kill", "retry")])
def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bits(
    store: Store, settings: Settings, wine: Dataset, start: Callable[[], psutil.Process], stop: str, again: str
) -> None:
    start()
    messages = Queue(settings.effective_broker_url)
    whole, broken = queue(store, wine, LONG), queue(store, wine, LONG)
    messages.enqueue(whole)
    wait_for(store, whole, ended)
    wait_for(store, broken, lambda job: job.status == "running" and job.step > 100)
    said = time.monotonic()
    with store.begin() as session:
        commands.give(session, broken, stop)
    at_rest = {"pause": "paused"}.get(stop, "cancelled")
    stopped = wait_for(store, broken, lambda job: job.status == at_rest)
    assert time.monotonic() - said < 10
    with store.begin() as session:
        assert commands.give(session, broken, again).status == "queued"
    messages.enqueue(broken)
    assert wait_for(store, broken, ended).attempt == stopped.attempt + 1
    assert outcome(store, broken) == outcome(store, whole)
    messages.close()


def test_a_run_that_is_killed_in_a_step_that_never_ends_is_ended(
    store: Store, settings: Settings, wine: Dataset, start: Callable[[], psutil.Process]
) -> None:
    parent, messages = start(), Queue(settings.effective_broker_url)
    # Nothing comes back to Python while L-BFGS searches along a line through all rows, for hours.
    endless = changed(
        optimizer={"type": "lbfgs", "iterations": 1000, "history": 1000},
        network={"layers": [{"type": "dense", "units": 3000}, {"type": "dense", "units": 3000}] * 2
                 + [{"type": "dense", "units": "auto"}]},
        training={"batch_size": "all", "epochs": 1},
    )  # fmt: skip
    stuck, next_one = queue(store, wine, endless), queue(store, wine, SPEC)
    messages.enqueue(stuck)
    child = int(str(wait_for(store, stuck, lambda job: job.status == "running").worker).split("/")[-1])
    time.sleep(4.0)  # by then it is in the first step, on a busy machine too
    with store.begin() as session:
        commands.give(session, stuck, "kill")
    messages.enqueue(next_one)
    assert wait_for(store, next_one, ended).status == "succeeded"
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert parent.is_running()
    messages.close()


def test_a_queued_job_without_a_message_is_found_and_a_cancelled_one_stops(
    store: Store, settings: Settings, wine: Dataset, start: Callable[[], psutil.Process]
) -> None:
    start()
    endless = queue(store, wine, changed(training={"epochs": 1_000_000}))
    behind = queue(store, wine, SPEC)
    wait_for(store, endless, lambda job: job.step > 50)
    with store.begin() as session:
        commands.give(session, endless, "cancel")
    assert wait_for(store, endless, ended).status == "cancelled"
    assert wait_for(store, behind, ended).status == "succeeded"


def test_every_slot_trains_a_job_that_suits_it_and_one_for_a_gpu_waits(
    store: Store, settings: Settings, wine: Dataset, start: Callable[..., psutil.Process]
) -> None:
    """Two real workers without a GPU, one of them with two slots: three jobs at once, none that they cannot train."""
    messages = Queue(settings.effective_broker_url)
    devices = ("cuda", "auto", "cpu", "auto")
    endless = {"epochs": 1_000_000, "log_every_steps": None}
    gpu, *others = (queue(store, wine, changed(training=endless | {"device": device})) for device in devices)
    behind = queue(store, wine, SPEC)
    parents = [str(start(devices).pid) for devices in ("cpu,cpu", "cpu")]
    reconcile(store, messages, settings)
    running = [wait_for(store, job_id, lambda job: job.step > 0) for job_id in others]
    assert [job.status for job in running] == ["running"] * 3
    assert len({job.worker for job in running}) == 3
    assert {str(job.worker).split("/")[1] for job in running} == set(parents)
    with store.begin() as session:
        alive = {str(worker.pid): (worker.slots, worker.device) for worker in workers.alive(session, 60)}
        assert alive == dict(zip(parents, [(2, "cpu"), (1, "cpu")], strict=True))
        for job_id in others:
            commands.give(session, job_id, "cancel")
    assert wait_for(store, behind, ended).status == "succeeded"
    with store.read() as session:
        job, place = jobs.get(session, gpu), waiting.places(session, [gpu])[gpu]
    assert (job.status, job.attempt) == ("queued", 0)
    assert "No living worker has a slot on a GPU" in str(place.reason)
    messages.close()


def test_a_worker_refuses_slots_that_it_cannot_have(sqlite_url: str, redis_url: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url=sqlite_url, broker_url=redis_url)
    for devices, why in (("cuda:99", "this machine has"), ("cpu,cuda:0", "slots of one kind")):
        environment = settings.environment() | {"TRAINYARD_DEVICES": devices}
        command = [sys.executable, "-m", "worker"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert why in done.stderr and "Traceback" not in done.stderr


def test_slots_of_two_kinds_are_two_workers_and_one_command(
    sqlite_store: Store, sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    """The one without a GPU of that number is started again and again; the other one works on."""
    settings = Settings(home=tmp_path, database_url=sqlite_url, broker_url=redis_url, devices="cpu,cuda:99")
    command = [sys.executable, "-m", "service.cli", "worker"]
    with subprocess.Popen(command, env=settings.environment(), stdout=subprocess.PIPE, text=True) as both:
        assert both.stdout is not None and "cpu,cuda:99" in both.stdout.readline()
        assert "worker-cuda ended with exit code 1; starting it again" in both.stdout.readline()
        deadline = time.monotonic() + PATIENCE
        while not alive(sqlite_store):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert alive(sqlite_store) == [(1, "cpu")]
        children = psutil.Process(both.pid).children(recursive=True)
        both.terminate()
        both.communicate(timeout=30)
    assert not any(child.is_running() for child in children)


def alive(store: Store) -> list[tuple[int, str]]:
    """Slots and device of the workers that live."""
    with store.read() as session:
        return [(worker.slots, worker.device) for worker in workers.alive(session, 60)]


def test_a_worker_refuses_a_database_that_is_not_its_own(
    empty_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, database_url=empty_database_url, broker_url=redis_url)
    command = [sys.executable, "-m", "worker"]
    done = subprocess.run(command, env=settings.environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "trainyard migrate" in done.stderr and "Traceback" not in done.stderr


def test_a_worker_alone_tells_webhooks_and_one_that_hangs_keeps_no_job_waiting(
    store: Store, settings: Settings, wine: Dataset, start: Callable[[], psutil.Process]
) -> None:
    followed = ["job.queued", "job.running", "job.succeeded"]
    messages = Queue(settings.effective_broker_url)
    with receiving() as (receiver, url):
        for path in ("/hang", "/good"):
            with store.begin() as session:
                webhooks.insert(session, url=url + path, events=followed, secret=new_secret(), job=None)
        parent = start()
        job_id = queue(store, wine, SPEC)
        messages.enqueue(job_id)
        assert wait_for(store, job_id, ended).status == "succeeded"
        deadline = time.monotonic() + PATIENCE
        while len(told := [m.json["type"] for m in receiver.messages if m.path == "/good"]) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert told == followed
        assert [m.json["type"] for m in receiver.messages if m.path == "/hang"] == ["job.queued"]
        parent.terminate()  # while the one is still being waited for
        assert parent.wait(timeout=settings.webhook_seconds) == 0
    messages.close()
