"""A whole installation whose parts can be killed one by one: Redis, database, server and workers, each a process."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil
import redis

from service.broker import redis_command
from service.programs import end_with
from service.settings import Settings
from service.stack import server_command, worker_commands
from service.store import jobs
from service.store.engine import Store, open_store
from service.store.tables import Job
from tests.conftest import wait_for_redis
from tests.support.ports import free_port
from tests.support.warm import Process, warm_process
from tests.worker.runs import outcome

PATIENCE = 180.0
LEASE_SECONDS = 5.0
NEVER = 300.0
"""The lease where none is to run out, however busy the machine is."""


class Database(Protocol):
    """Where the truth is, and how it goes away."""

    url: str

    def stop(self) -> None:
        """End the server, in the middle of whatever it does."""

    def start(self) -> None:
        """Start it again."""


class Fleet:
    """One server, one Redis and some workers on a database."""

    def __init__(self, home: Path, database: Database, workers: int = 2, **settings: Any) -> None:
        self.home, self.database = home, database
        self.socket = home / "redis.sock"
        quick = {"lease_seconds": LEASE_SECONDS, "heartbeat_seconds": 0.1, "reconcile_seconds": 0.3}
        self.settings = Settings(
            home=home,
            database_url=database.url,
            broker_url=f"redis+socket://{self.socket}",
            port=free_port(),
            threads_per_slot=1,
            webhook_senders=0,
            **{"max_attempts": 1000, **quick, **settings},
        )
        self.store: Store = open_store(database.url)
        self.workers: list[Process] = []
        self.redis = self._start_redis()
        self.server = self.start("server", server_command(self.settings))
        self.client = client_of(self.settings.port)
        for _ in range(workers):
            self.start_worker()
        try:
            until(lambda: self.answers(without_workers=not workers), self._last_words)
        except AssertionError:
            self.close()
            raise

    def close(self) -> None:
        """End everything."""
        self.client.close()
        self.store.dispose()
        for process in [*self.workers, self.server, self.redis]:
            for each in family(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGCONT)
            process.kill()
            process.wait()

    # What lives, and what is done to it.

    def start_worker(self) -> Process:
        """Add a worker."""
        (command,) = worker_commands(self.settings).values()
        self.workers.append(self.start("worker", command))
        return self.workers[-1]

    def replace(self, worker: Process) -> None:
        """Start a worker in the place of one that has ended."""
        worker.wait(timeout=PATIENCE)
        self.workers.remove(worker)
        self.start_worker()

    def restart_server(self) -> None:
        """Kill the server, and start it again on the same port."""
        self.server.kill()
        self.server.wait()
        self.server = self.start("server", server_command(self.settings))

    def flush_redis(self) -> None:
        """Throw away everything that is in Redis."""
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            client.flushall()

    def new_redis(self) -> None:
        """Kill Redis, and start an empty one."""
        self.redis.kill()
        self.redis.wait()
        self.redis = self._start_redis()

    def freeze(self, pid: int) -> None:
        """Stop a process where it holds nothing that others wait for.

        A file has no way to take its lock back from a process that was stopped in a transaction.
        """
        while True:
            os.kill(pid, signal.SIGSTOP)
            if self.store.engine.dialect.name != "sqlite" or _can_write(str(self.store.engine.url.database)):
                return
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.01)

    def holder(self, job_id: str) -> int:
        """Return the process that trains a job."""
        return int(str(self.wait_for(job_id, lambda job: job.worker is not None).worker).split("/")[-1])

    def parent_of(self, child: int) -> Process:
        """Return the worker that a process belongs to."""
        return next(worker for worker in self.workers if child in family(worker.pid))

    # What clients do.

    def answers(self, without_workers: bool = False) -> bool:
        """Return whether the server answers and all of its parts do."""
        with suppress(httpx.HTTPError):
            return self.client.get("/healthz" if without_workers else "/readyz").status_code == 200
        return False

    def _last_words(self) -> str:
        said = [path.read_text()[-2000:] for path in sorted(self.home.glob("*.log"))]
        return "the fleet does not come up:\n" + "\n".join(said)

    def upload(self, content: bytes) -> str:
        """Upload a CSV and return the id of the data set."""
        answer = self.client.post("/v1/datasets", content=content, headers={"Content-Type": "text/csv"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def submit(self, spec: Mapping[str, Any], **headers: str) -> str:
        """Submit a job and return its id."""
        answer = self.client.post("/v1/jobs", json=spec, headers=headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def tell(self, job_id: str, command: str) -> str:
        """Give a job a command and return its status then."""
        answer = self.client.post(f"/v1/jobs/{job_id}/{command}")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["status"])

    def job(self, job_id: str) -> Job:
        """Return a job, from the database."""
        with self.store.read() as session:
            return jobs.get(session, job_id)

    def wait_for(self, job_id: str, condition: Callable[[Job], bool], seconds: float = PATIENCE) -> Job:
        """Return the job once the condition holds."""
        until(lambda: condition(self.job(job_id)), lambda: f"it is still {_said(self.job(job_id))}", seconds)
        return self.job(job_id)

    def running(self, job_id: str, steps: int = 60) -> Job:
        """Return the job once it has run for some steps and has a checkpoint."""
        return self.wait_for(job_id, lambda job: job.status == "running" and job.step > steps)

    def ended(self, job_id: str, seconds: float = PATIENCE) -> Job:
        """Return the job once it has ended."""
        return self.wait_for(job_id, lambda job: job.status in jobs.TERMINAL, seconds)

    def events(self, job_id: str) -> list[Any]:
        """Return a job's events, through HTTP."""
        answer = self.client.get(f"/v1/jobs/{job_id}/events", params={"limit": 1000})
        return list(answer.json()["data"])

    def story(self, job_id: str) -> list[str]:
        """Return the types of a job's events."""
        return [event["type"] for event in self.events(job_id)]

    def start(self, name: str, command: list[str], **settings: Any) -> Process:
        """Start a process with the settings of this fleet, or others; what it prints goes to the log of this name."""
        environment = self.settings.model_copy(update=settings).environment() | {"OMP_NUM_THREADS": "1"}
        return warm_process(command, environment, self.home / f"{name}.log")

    def _start_redis(self) -> Process:
        self.socket.unlink(missing_ok=True)
        with (self.home / "redis.log").open("ab") as log:
            command, preexec = redis_command(self.socket), end_with(os.getpid())
            process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=preexec)
        wait_for_redis(self.socket)
        return process


def client_of(port: int) -> httpx.Client:
    """Return a client of a server on this machine, which keeps no connection that the server is about to close."""
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=httpx.Limits(keepalive_expiry=1.0))


def survived(fleet: Fleet, job_id: str, undisturbed: Any) -> Job:
    """Return the job once it has ended as one that nobody disturbed."""
    job = fleet.ended(job_id)
    assert job.status == "succeeded", job.error_message
    assert outcome(fleet.store, job_id) == undisturbed
    return job


def until(condition: Callable[[], bool], message: str | Callable[[], str], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: It did not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, message if isinstance(message, str) else message()
        time.sleep(0.05)


def family(pid: int) -> set[int]:
    """Return a process and all below it."""
    with suppress(psutil.NoSuchProcess):
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    return set()


def _can_write(path: str) -> bool:
    with closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as connection, suppress(sqlite3.Error):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        return True
    return False


def _said(job: Job) -> str:
    return f"{job.status} at step {job.step}, attempt {job.attempt}: {job.error_message}"
