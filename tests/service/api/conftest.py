"""The real application over real HTTP, on real databases, a real Redis, and the worker's own code to train with."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from service.api.app import create_app
from service.settings import Settings
from service.store import commands, jobs
from service.store.engine import Store, open_store
from service.store.tables import Job
from tests.support.warm_export import warm_exports
from worker.training.attempt import run_attempt

Json = dict[str, Any]
QUIET = {"reconcile_seconds": 3600, "log_level": "ERROR", "webhook_senders": 0, "webhook_allow_private": True}
"""Nothing is looked up or sent on its own: random requests must reach nobody."""


@dataclass(frozen=True)
class Api:
    """A running server, and a client that calls it."""

    settings: Settings
    client: httpx.Client

    def upload(self, data: bytes, content_type: str = "text/csv", **query: str) -> Json:
        """Upload a file and return the data set."""
        headers = {"Content-Type": content_type}
        answer = self.client.post("/v1/datasets", content=data, params=query, headers=headers)
        assert answer.status_code == 201, answer.text
        dataset: Json = answer.json()
        return dataset

    def spec(self, dataset: str, **more: Any) -> Json:
        """A small network with dropout for a classification of the column `target`."""
        layers = [
            {"type": "dense", "units": 8, "activation": "relu"},
            {"type": "dropout", "rate": 0.2},
            {"type": "dense", "units": "auto"},
        ]
        spec: Json = {
            "name": "small",
            "network": {"layers": layers},
            "loss": "cross_entropy",
            "data": {"dataset": dataset, "target": "target", "preprocessing": "standardize"},
            "training": {"epochs": 2, "seed": 1},
            "metrics": ["accuracy"],
        }
        return {**spec, **more}

    def submit(self, spec: Json, **headers: str) -> Json:
        """Submit a job and return it."""
        answer = self.client.post("/v1/jobs", json=spec, headers=headers)
        assert answer.status_code == 202, answer.text
        job: Json = answer.json()
        return job

    def work(self, only: str | None = None) -> None:
        """Train the queued jobs here and now, with the worker's own code; or one, cancelling all others."""
        store = open_store(self.settings.effective_database_url)
        with store.begin() as session:
            for job_id in jobs.oldest_queued(session, 1000) if only else ():
                if job_id != only:
                    commands.give(session, job_id, "cancel")
        while (job := self._claim(store)) is not None:
            run_attempt(store, self.settings, job)
        store.dispose()

    @staticmethod
    def _claim(store: Store) -> Job | None:
        with store.begin() as session:
            return jobs.claim(session, "test", 30)


@pytest.fixture(autouse=True, scope="module")
def warm() -> Iterator[None]:
    """Export in forks: the start of `python -m service.export` takes longer than what is asked here."""
    with warm_exports():
        yield


@contextmanager
def served(settings: Settings) -> Iterator[Api]:
    """Run the application under uvicorn on a free port."""
    # Only for sockets that say they are TCP, asyncio turns off Nagle's algorithm; it would cost 40 ms a request.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            assert server.started, "the server did not start"
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
                yield Api(settings, client)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def sqlite_api(sqlite_template: Path, redis_socket: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server on SQLite that the tests of a session share."""
    home = tmp_path_factory.mktemp("api")
    shutil.copy(sqlite_template, home / "trainyard.db")
    with served(Settings(home=home, broker_url=f"redis+socket://{redis_socket}", **QUIET)) as api:
        yield api


@pytest.fixture(scope="session")
def postgres_api(
    postgres_server: Any, postgres_template: str, redis_socket: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """A server on PostgreSQL that the tests of a session share."""
    name = "shared_by_api_tests"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE {postgres_template}")
    url = f"postgresql+psycopg://{postgres_server.info.user}@/{name}?host={postgres_server.info.host}"
    broker = f"redis+socket://{redis_socket}"
    with served(Settings(home=tmp_path_factory.mktemp("api"), database_url=url, broker_url=broker, **QUIET)) as api:
        yield api


@pytest.fixture
def api(sqlite_api: Api) -> Api:
    """A shared server, for tests that are not about the database."""
    return sqlite_api


@pytest.fixture
def client(api: Api) -> httpx.Client:
    """A client of that server."""
    return api.client


@pytest.fixture(params=["sqlite", "postgres"])
def both(request: pytest.FixtureRequest) -> Api:
    """A shared server, once on each database."""
    found: Api = request.getfixturevalue(f"{request.param}_api")
    return found


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings of an installation of the test's own, on SQLite."""
    return Settings(home=tmp_path, database_url=sqlite_url, broker_url=redis_url, **QUIET)


@pytest.fixture
def own(settings: Settings) -> Iterator[Api]:
    """A server of the test's own, on an empty store."""
    with served(settings) as api:
        yield api


@pytest.fixture
def serving() -> Callable[[Settings], AbstractContextManager[Api]]:
    """Starts a server with settings of the test's own."""
    return served
