"""Upkeep: what nobody needs goes, and a file gives its space back."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from service.store import datasets, upkeep
from service.store.blobs import blob_bytes
from service.store.clock import now
from service.store.engine import Store, open_store
from service.store.schema import upgrade
from service.store.tables import Blob, Chunk, Dataset, IdempotencyKey, Worker


def test_what_nobody_needs_goes(store: Store, new_dataset: Callable[..., Dataset]) -> None:
    kept, dropped = new_dataset(b"kept"), new_dataset(b"dropped")
    with store.begin() as session:
        datasets.delete(session, dropped.id)
        session.add(IdempotencyKey(key="old", created_at=0.0))
        session.add(IdempotencyKey(key="new"))
        session.add(Worker(id="old", host="h", pid=1, slots=1, heartbeat_at=0.0))
        session.add(Worker(id="new", host="h", pid=1, slots=1))
        session.execute(update(Chunk).values(touched_at=now() - 3601))
        session.execute(update(Blob).values(touched_at=now() - 3601))
    upkeep.tidy(store)
    with store.read() as session:
        assert session.scalars(select(IdempotencyKey.key)).all() == ["new"]
        assert session.scalars(select(Worker.id)).all() == ["new"]
        assert session.scalar(select(func.count()).select_from(Chunk)) == 1
    assert blob_bytes(store, kept.sha256) == b"kept"


def test_a_file_shrinks(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite_store.begin() as session:
        session.add_all(Chunk(sha256=str(at), data=os.urandom(4096), touched_at=0.0) for at in range(1000))
    monkeypatch.setattr(upkeep, "VACUUM_PAGES", 700)
    path = str(sqlite_store.engine.url.database)
    upkeep.tidy(sqlite_store)
    sqlite_store.dispose()  # the last connection writes the log into the file
    assert os.path.getsize(path) < 1_000_000


def test_a_file_without_auto_vacuum_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE filler AS SELECT randomblob(100000)")
        made.execute("DELETE FROM filler")
    made.close()
    upgrade(f"sqlite:///{path}")
    store = open_store(f"sqlite:///{path}")
    size = path.stat().st_size
    upkeep.tidy(store)
    store.dispose()
    assert path.stat().st_size == size
