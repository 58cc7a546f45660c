"""Exports in processes of their own: shared, kept, bounded, ended when they take too long."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from service.errors import CorruptBlob, NotExportable, NotFound, Overloaded, TrainyardError
from service.export import exporter as module
from service.export.exporter import Exported, Exporter
from service.settings import Settings
from service.store import models
from service.store.engine import Store
from service.store.tables import Model
from tests.support.every_block import DATA, specification
from tests.support.real_stack import descendants, eventually
from tests.support.untrained import Untrained, untrained
from tests.support.warm_export import warm_exports

Make = Callable[..., Exporter]


@pytest.fixture(scope="module")
def small() -> Untrained:
    kind, content = DATA["table"]
    return untrained(content, kind, specification("table"))


@pytest.fixture
def warm() -> Iterator[None]:
    """Start no command, but forks of what the command would have become; for tests that are not about its start."""
    with warm_exports():
        yield


@pytest.fixture
def make(sqlite_url: str, tmp_path: Path) -> Iterator[Make]:
    """Make exporters; all are closed at the end."""
    made = []

    def new(**settings: Any) -> Exporter:
        made.append(Exporter(Settings(home=tmp_path / "home", database_url=sqlite_url, **settings)))
        return made[-1]

    yield new
    for exporter in made:
        exporter.close()


def stored(store: Store, model: Untrained) -> Model:
    model_id = model.put(store)
    with store.read() as session:
        return models.get(session, model_id)


@pytest.mark.usefixtures("warm")
def test_a_file_is_made_once_for_all_who_ask_and_kept_until_it_has_to_make_room(
    sqlite_store: Store, small: Untrained, make: Make
) -> None:
    exporter, row = make(export_cache_bytes=1), stored(sqlite_store, small)
    asked, shared = (exporter.ask(row, "torch", dropout=False) for _ in range(2))
    assert asked is shared
    first = asked.result()
    assert first.checked["rows"] == 32 and first.checked["largest_difference"] <= 1e-5
    assert first.path.stat().st_size == first.size
    again = exporter.ask(row, "torch", dropout=False)
    assert again.done() and again.result() is first
    with first.open() as file:
        other = exporter.ask(row, "torch", dropout=True)
        assert not other.done()
        second = other.result()
        assert second.key != first.key
        assert not first.path.exists() and second.path.exists()
        assert len(file.read()) == first.size  # whoever has it open can read it to its end
    assert not exporter.ask(row, "torch", dropout=False).done()
    folder = second.path.parent
    exporter.close()
    exporter.close()
    assert not folder.exists()


def test_what_a_killed_server_left_is_removed_and_what_a_living_one_has_stays(make: Make, tmp_path: Path) -> None:
    living = make()
    home = living._settings.home
    left, newborn, old = (home / f"exports-{name}" for name in ("left", "newborn", "old"))
    for folder in (left, newborn, old):
        folder.mkdir()
    (left / "lock").touch()
    os.utime(old, (0, 0))
    make()
    assert living._folder.path.exists() and newborn.exists()
    assert not left.exists() and not old.exists()


def test_a_model_that_is_gone_meanwhile_is_not_found(sqlite_store: Store, small: Untrained, make: Make) -> None:
    row = stored(sqlite_store, small)
    with sqlite_store.begin() as session:
        models.delete(session, row.id)
    with pytest.raises(NotFound, match=row.id):
        make().ask(row, "torch", dropout=False).result()


@pytest.mark.usefixtures("warm")
def test_rotten_weights_are_not_exported(sqlite_store: Store, make: Make) -> None:
    kind, content = DATA["table"]
    model = untrained(content, kind, specification("table"), seed=5)
    broken = Untrained(model.row, model.weights[:-8])
    with pytest.raises(CorruptBlob):
        make().ask(stored(sqlite_store, broken), "torch", dropout=False).result()


def test_an_export_that_takes_too_long_is_ended(sqlite_store: Store, small: Untrained, make: Make) -> None:
    began = time.monotonic()
    with pytest.raises(NotExportable, match=r"longer than the 0\.2 s"):
        make(export_seconds=0.2).ask(stored(sqlite_store, small), "onnx", dropout=False).result()
    assert time.monotonic() - began < 10


def test_a_process_that_dies_is_an_error_with_a_sentence(
    sqlite_store: Store, small: Untrained, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMAND", ("/bin/false",))
    with pytest.raises(TrainyardError, match="ended without an answer"):
        make().ask(stored(sqlite_store, small), "onnx", dropout=False).result()


def test_only_so_many_wait_and_closing_ends_all_of_them(
    sqlite_store: Store, small: Untrained, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    monkeypatch.setattr(module, "COMMAND", ("/bin/sleep", "1000"))
    exporter = make()
    rows = [stored(sqlite_store, small) for _ in range(3)]
    waiting: list[Future[Exported]] = [exporter.ask(row, "onnx", dropout=False) for row in rows[:2]]
    with pytest.raises(Overloaded):
        exporter.ask(rows[2], "onnx", dropout=False)
    assert eventually(lambda: bool(exporter._running))
    (process,) = exporter._running
    exporter.close()
    assert process.poll() is not None
    assert all(future.done() for future in waiting)


def test_a_process_ends_when_whoever_gave_the_order_is_gone(
    sqlite_store: Store, small: Untrained, make: Make, tmp_path: Path
) -> None:
    row = stored(sqlite_store, small)
    settings = make()._settings
    order = {"model": row.id, "format": "onnx", "dropout": False, "file": str(tmp_path / "out")}
    with subprocess.Popen(module.COMMAND, stdin=subprocess.PIPE, env=settings.environment()) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.close()
        assert process.wait(60) == 1
    assert not (tmp_path / "out").exists()
    assert process.pid not in descendants(os.getpid())
