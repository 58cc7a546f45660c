"""The engine: transactions, what they promise, and what becomes of the database's errors."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.orm import Session

from service.errors import InvalidInput, Unavailable
from service.store import datasets, engine, jobs, workers
from service.store.engine import Store, open_store
from service.store.schema import upgrade
from service.store.tables import Job, Worker


def add_worker(session: Session, name: str = "w") -> None:
    workers.beat(session, name, host="h", pid=1, slots=1)


def count_workers(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Worker)) or 0


def test_a_transaction_is_kept_at_its_end(store: Store) -> None:
    with store.begin() as session:
        add_worker(session)
    with store.read() as session:
        assert count_workers(session) == 1


def test_a_transaction_is_rolled_back_on_an_error(store: Store) -> None:
    with pytest.raises(RuntimeError, match="stop"), store.begin() as session:
        add_worker(session)
        raise RuntimeError("stop")
    with store.read() as session:
        assert count_workers(session) == 0


def test_a_session_keeps_only_what_it_commits(store: Store) -> None:
    with store.session() as session:
        add_worker(session, "kept")
        session.commit()
        add_worker(session, "dropped")
    with store.read() as session:
        assert session.scalars(select(Worker.id)).all() == ["kept"]


def test_rows_can_be_used_after_their_transaction(store: Store) -> None:
    with store.begin() as session:
        add_worker(session)
        worker = session.scalars(select(Worker)).one()
    assert (worker.id, worker.pid) == ("w", 1)
    assert worker.heartbeat_at > 1.7e9


def test_reading_cannot_write(store: Store) -> None:
    with pytest.raises((Unavailable, DBAPIError), match=r"read-?only"), store.read() as session:
        add_worker(session)
    with store.begin() as session:  # on the very same connection
        add_worker(session)


def test_reading_sees_one_state(store: Store) -> None:
    with store.read() as reading:
        assert count_workers(reading) == 0
        with store.begin() as writing:
            add_worker(writing)
        assert count_workers(reading) == 0
    with store.read() as reading:
        assert count_workers(reading) == 1


def test_writers_wait_for_each_other_and_lose_nothing(store: Store) -> None:
    with store.begin() as session:
        add_worker(session)

    def add_slots(_: int) -> None:
        for _ in range(10):
            with store.begin() as session:
                slots = session.scalars(select(Worker.slots).where(Worker.id == "w").with_for_update()).one()
                session.execute(update(Worker).where(Worker.id == "w").values(slots=slots + 1))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add_slots, range(8)))
    with store.read() as session:
        assert session.scalars(select(Worker.slots)).one() == 81


def test_readers_do_not_wait_for_a_writer(store: Store) -> None:
    """Not even for a connection of their own: a setting that takes the write lock would make every one wait."""
    with store.begin() as writing:
        add_worker(writing)
        with ThreadPoolExecutor(1) as other:

            def read() -> int:
                another = open_store(store.engine.url.render_as_string())
                with another.read() as reading:
                    seen = count_workers(reading)
                another.dispose()
                return seen

            assert other.submit(read).result() == 0


def test_a_writer_that_never_gets_its_turn_gives_up(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    with sqlite_store.begin() as writing:
        add_worker(writing)
        with pytest.raises(Unavailable, match=r"held its lock for 0.05 s"), sqlite_store.begin() as session:
            add_worker(session, "late")
    with sqlite_store.begin() as session:
        add_worker(session, "next")
    with sqlite_store.read() as session:
        assert session.scalars(select(Worker.id).order_by(Worker.id)).all() == ["next", "w"]


def test_a_file_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "trainyard.db"
    upgrade(f"sqlite:///{path}")
    store = open_store(f"sqlite:///file:{path}?immutable=1&uri=true")
    with pytest.raises(Unavailable, match="does not answer"), store.begin() as session:
        add_worker(session)
    store.dispose()


def test_a_new_file_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    def begin(_: int) -> int:
        store = open_store(f"sqlite:///{tmp_path}/new/trainyard.db")
        with store.begin() as session:
            session.execute(text("CREATE TABLE IF NOT EXISTS t (x INTEGER)"))
            session.execute(text("INSERT INTO t VALUES (1)"))
        with store.read() as session:
            mode = session.scalar(text("PRAGMA auto_vacuum"))
        store.dispose()
        return int(mode)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(begin, range(16))) == [2] * 16


def test_foreign_keys_hold(store: Store) -> None:
    with pytest.raises(DBAPIError, match=r"(?i)foreign key"), store.begin() as session:
        datasets.insert(session, name="n", format="csv", sha256="0" * 64, size=1, rows=1, columns=[])


def test_sqlite_is_set_up_to_be_safe(sqlite_store: Store) -> None:
    wanted = {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "synchronous": 2,  # FULL
        "busy_timeout": 15_000,
        "auto_vacuum": 2,  # INCREMENTAL
        "wal_autocheckpoint": 4000,
        "journal_size_limit": 67_108_864,
    }
    with sqlite_store.read() as session:
        assert {name: session.scalar(text(f"PRAGMA {name}")) for name in wanted} == wanted


def test_postgresql_connections_that_died_are_replaced(postgres_store: Store) -> None:
    with postgres_store.begin() as session:
        add_worker(session)
    other = open_store(postgres_store.engine.url.render_as_string())
    with other.begin() as session:
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        session.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))
    other.dispose()
    with postgres_store.read() as session:
        assert count_workers(session) == 1


def test_a_database_that_went_away_is_unavailable_until_it_is_back(
    postgres_store: Store, postgres_server: psycopg.Connection[Any]
) -> None:
    with postgres_store.begin() as session:
        name = session.scalar(text("SELECT current_database()"))
    postgres_server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    postgres_server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
    try:
        for _ in range(2):
            with pytest.raises(Unavailable), postgres_store.begin() as session:
                session.execute(text("SELECT 1"))
    finally:
        postgres_server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    with postgres_store.begin() as session:
        assert session.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_gets_the_driver_that_is_installed(postgres_url: str, scheme: str) -> None:
    store = open_store(postgres_url.replace("postgresql+psycopg", scheme))
    with store.read() as session:
        assert session.scalar(text("SELECT 1")) == 1
    store.dispose()


def test_the_folder_of_a_file_is_made(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/a/b/trainyard.db")
    with store.begin() as session:
        assert session.scalar(text("SELECT 1")) == 1
    store.dispose()
    assert (tmp_path / "a/b/trainyard.db").exists()


@pytest.mark.parametrize(
    "url", ["", "trainyard.db", "mysql://u@h/d", "sqlite://", "sqlite:///:memory:", "postgresql+asyncpg://h/d"]
)
def test_urls_of_no_store_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_store(url)
    assert caught.value.problems[0].path == "database_url"


@pytest.mark.parametrize("url", ["postgresql://u@127.0.0.1:1/d?connect_timeout=2", "sqlite:////proc/trainyard.db"])
def test_a_database_that_does_not_answer_is_unavailable(url: str) -> None:
    with pytest.raises(Unavailable, match="database does not answer"), open_store(url).read() as session:
        session.execute(text("SELECT 1"))


LOOKUPS: list[Callable[[Session], object]] = [
    lambda session: jobs.insert(session, spec={}, spec_sha256="", dataset="", data_sha256="", seed=2**70),
    lambda session: jobs.insert(session, name="\ud800", spec={}, spec_sha256="", dataset="", data_sha256="", seed=0),
    lambda session: jobs.list_page(session, 1, status="\ud800"),
]


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_values_that_cannot_be_stored_are_the_callers_mistake(
    store: Store, lookup: Callable[[Session], object]
) -> None:
    with pytest.raises(InvalidInput, match="cannot be stored"), store.begin() as session:
        lookup(session)


def test_a_zero_byte_is_the_callers_mistake(postgres_store: Store) -> None:
    with pytest.raises(InvalidInput, match="cannot be stored"), postgres_store.read() as session:
        jobs.get(session, "job_\0")


def test_json_without_meaning_is_refused_on_every_database(store: Store) -> None:
    with pytest.raises((StatementError, ValueError), match="not JSON compliant"), store.begin() as session:
        jobs.insert(session, spec={"a": float("nan")}, spec_sha256="", dataset="", data_sha256="", seed=0)


def test_json_comes_back_as_it_was(store: Store) -> None:
    spec = {"z": [1, 2.5, None, True], "a": {"ü": "\0\n", "big": 2**80}}
    with store.begin() as session:
        job = jobs.insert(session, spec=spec, spec_sha256="", dataset="", data_sha256="", seed=0)
    with store.read() as session:
        found = session.scalars(select(Job.spec).where(Job.id == job.id)).one()
    assert found == spec
    assert list(found) == ["z", "a"]
