"""Disturbs a fleet at random, as the seed says."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import httpx

from service.store import jobs
from tests.chaos.fleet import LEASE_SECONDS, Fleet, family, until


class Monkey:
    """Kills, stops, wipes and restarts; after each deed the parts that have to be there are there again."""

    def __init__(self, fleet: Fleet, seed: int, job_ids: Sequence[str]) -> None:
        self._fleet, self._jobs = fleet, list(job_ids)
        self._draw = random.Random(seed)
        self.deeds: list[str] = []
        self._sleepers: list[threading.Thread] = []

    def disturb(self) -> None:
        """Do one thing."""
        deeds: list[Callable[[], None]] = [
            self.kill_child, self.kill_child, self.kill_worker, self.end_worker, self.stop_child,
            self.flush_redis, self.new_redis, self.restart_server, self.pause_and_resume,
        ]  # fmt: skip
        if self._fleet.store.engine.dialect.name == "postgresql":
            deeds.append(self.restart_database)
        deed = self._draw.choice(deeds)
        self.deeds.append(deed.__name__)
        deed()

    def rest(self) -> None:
        """Let everybody go who was stopped."""
        for sleeper in self._sleepers:
            sleeper.join()

    def kill_child(self) -> None:
        """Kill a process that trains."""
        with suppress(ProcessLookupError):
            os.kill(self._child(), signal.SIGKILL)

    def kill_worker(self) -> None:
        """Kill a worker's parent, and start another worker."""
        worker = self._draw.choice(self._fleet.workers)
        worker.kill()
        self._fleet.replace(worker)

    def end_worker(self) -> None:
        """Have a worker end, and start another one."""
        worker = self._draw.choice(self._fleet.workers)
        worker.terminate()
        self._fleet.replace(worker)

    def stop_child(self) -> None:
        """Stop a process that trains for longer than its lease; it goes on when another has its job."""
        pid = self._child()
        with suppress(ProcessLookupError):
            self._fleet.freeze(pid)

        def wake() -> None:
            time.sleep(1.5 * LEASE_SECONDS)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        self._sleepers.append(threading.Thread(target=wake))
        self._sleepers[-1].start()

    def flush_redis(self) -> None:
        """Throw away every message."""
        self._fleet.flush_redis()

    def new_redis(self) -> None:
        """Kill Redis; a new one knows nothing."""
        self._fleet.new_redis()

    def restart_server(self) -> None:
        """Kill the server in the middle of its requests."""
        self._fleet.restart_server()

    def restart_database(self) -> None:
        """Cut every connection to the database."""
        self._fleet.database.stop()
        self._fleet.database.start()

    def pause_and_resume(self) -> None:
        """Pause a job, and have it go on."""
        job_id = self._draw.choice(self._jobs)
        with suppress(httpx.HTTPError):
            until(self._fleet.answers, "the server is gone")
            self._fleet.client.post(f"/v1/jobs/{job_id}/pause")
            until(lambda: self._fleet.job(job_id).status not in ("pausing", "cancelling"), "it does not pause", 30)
        self.resume(job_id)

    def resume(self, job_id: str) -> None:
        """Have a job go on that is paused."""
        while self._fleet.job(job_id).status == "paused":
            with suppress(httpx.HTTPError):
                self._fleet.client.post(f"/v1/jobs/{job_id}/resume")

    def _child(self) -> int:
        """Return a process that trains, or else one that could."""
        with self._fleet.store.read() as session:
            page = jobs.list_page(session, 1000, status="running").rows
        owners = {int(job.worker.rsplit("/")[-1]) for job in page if job.worker}
        until(lambda: bool(self._children()), "no worker has a child")
        children = self._children()
        return self._draw.choice(sorted(owners.intersection(children)) or children)

    def _children(self) -> list[int]:
        return [pid for worker in self._fleet.workers for pid in sorted(family(worker.pid) - {worker.pid})]
