"""Settings, data sets, and a way to disturb a run at a step."""

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from service.settings import Settings
from service.store.engine import Store
from service.store.jobs import TERMINAL
from service.store.tables import Dataset, Job
from tests.conftest import opened
from tests.support.every_block import DATA
from tests.worker.runs import put
from worker import draining
from worker.training.step import Step

AtStep = Callable[[int, Callable[[], None]], None]


@pytest.fixture
def settings(sqlite_url: str) -> Settings:
    """Settings with a lease and a heartbeat that suit tests."""
    return Settings(database_url=sqlite_url, heartbeat_seconds=0.05)


@pytest.fixture
def wine(sqlite_store: Store, wine_csv: bytes, tmp_path: Path) -> Dataset:
    """The wine data set, in the SQLite store."""
    return put(sqlite_store, tmp_path / "wine.csv", wine_csv)


@pytest.fixture(scope="module")
def module_store(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A SQLite store that the tests of a module share."""
    path = tmp_path_factory.mktemp("shared") / "trainyard.db"
    shutil.copy(sqlite_template, path)
    yield from opened(f"sqlite:///{path}")


@pytest.fixture
def shared_store(module_store: Store) -> Iterator[Store]:
    """The same, with no job that waits or runs."""
    yield module_store
    with module_store.begin() as session:  # one that a failed test has left behind
        session.execute(update(Job).where(Job.status.not_in(TERMINAL)).values(status="cancelled"))


@pytest.fixture
def shared_settings(shared_store: Store) -> Settings:
    """Settings of that store."""
    return Settings(database_url=f"sqlite:///{shared_store.engine.url.database}", heartbeat_seconds=0.05)


@pytest.fixture(scope="module")
def data_of_blocks(module_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Dataset]:
    """The data sets on which every block is trained, by name, in that store; each is uploaded once."""
    folder = tmp_path_factory.mktemp("data")

    def upload(name: str) -> Dataset:
        kind, content = DATA[name]
        return put(module_store, folder / name, content, kind)

    return functools.cache(upload)


@pytest.fixture(autouse=True)
def _not_draining() -> Iterator[None]:
    yield
    draining.resume()


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> AtStep:
    """Have something happen right before the run takes a step: `at_step(7, action)`."""
    original = Step.__call__

    def arrange(number: int, action: Callable[[], None]) -> None:
        def call(self: Any, batch: Any, step: int) -> Any:
            if step == number:
                action()
            return original(self, batch, step)

        monkeypatch.setattr(Step, "__call__", call)

    return arrange
