"""Settings, a data set, and a way to disturb a run at a step."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from service.store.engine import Store
from service.store.tables import Dataset
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
