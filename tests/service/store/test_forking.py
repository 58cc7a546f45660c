"""Forking with a store open: no SQLite connection crosses, nobody's transaction breaks, both sides go on."""

import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event, text

from service.store import workers
from service.store.engine import Store

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def forked(work: Callable[[], object]) -> None:
    """Run something in a forked child, and fail if it fails."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def beat(store: Store, name: str) -> None:
    with store.begin() as session:
        workers.beat(session, name, host="h", pid=os.getpid(), slots=1)


def names(store: Store) -> list[str]:
    with store.read() as session:
        return sorted(worker.id for worker in workers.alive(session, 60))


def open_files(store: Store) -> list[str]:
    database = str(store.engine.url.database)
    links = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return [link for link in links if link.startswith(database)]


def test_parent_and_child_both_go_on(store: Store) -> None:
    beat(store, "before")

    def child() -> None:
        beat(store, "child")
        assert names(store) == ["before", "child"]
        forked(lambda: beat(store, "grandchild"))
        store.dispose()
        beat(store, "child again")

    forked(child)
    beat(store, "parent")
    assert names(store) == ["before", "child", "child again", "grandchild", "parent"]


def test_no_sqlite_connection_crosses_a_fork(sqlite_store: Store) -> None:
    beat(sqlite_store, "before")
    assert open_files(sqlite_store)

    def child() -> None:
        assert open_files(sqlite_store) == []

    forked(child)


def test_the_child_of_a_postgresql_parent_has_connections_of_its_own(postgres_store: Store) -> None:
    backend = text("SELECT pg_backend_pid()")
    with postgres_store.read() as session:
        parent = session.scalar(backend)

    def child() -> None:
        with postgres_store.read() as session:
            assert session.scalar(backend) != parent

    forked(child)
    with postgres_store.read() as session:
        assert session.scalar(backend) == parent


def test_a_fork_waits_for_the_transactions_of_other_threads(sqlite_store: Store) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def write() -> None:
        with sqlite_store.begin() as session:
            workers.beat(session, "first", host="h", pid=1, slots=1)
            inside.set()
            go_on.wait(10)
            beat_deeper()

    def beat_deeper() -> None:
        with sqlite_store.read() as session:  # who is inside may go deeper although a fork waits
            assert list(workers.alive(session, 60)) == []

    writer = threading.Thread(target=write)
    writer.start()
    inside.wait(10)
    threading.Timer(0.1, go_on.set).start()

    def child() -> None:
        assert names(sqlite_store) == ["first"]
        assert len(open_files(sqlite_store)) > 0

    forked(child)
    writer.join(10)
    assert not writer.is_alive()


def test_forking_inside_a_transaction_of_ones_own_does_not_hang(sqlite_store: Store) -> None:
    with sqlite_store.begin() as session:
        workers.beat(session, "w", host="h", pid=1, slots=1)
        forked(lambda: None)
    assert names(sqlite_store) == ["w"]


def test_threads_write_on_while_the_process_forks(store: Store) -> None:
    stop, failures = threading.Event(), []

    def write(number: int) -> None:
        try:
            while not stop.is_set():
                beat(store, f"thread {number}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(10):
        forked(lambda name=f"child {number}": beat(store, name))  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert {f"child {number}" for number in range(10)} <= set(names(store))
    if store.engine.dialect.name == "sqlite":
        with store.read() as session:
            assert session.scalar(text("PRAGMA integrity_check")) == "ok"


def test_who_comes_late_leaves_no_connection_behind(store: Store) -> None:
    closed: list[object] = []
    event.listen(store.engine, "close", lambda connection, _: closed.append(connection))
    entered, disposed = threading.Event(), threading.Event()

    def stay() -> None:
        with store.read() as session:
            workers.alive(session, 60)
            entered.set()
            disposed.wait()

    late = threading.Thread(target=stay)
    late.start()
    entered.wait()
    store.dispose()
    before = len(closed)
    disposed.set()
    late.join()
    assert len(closed) == before + 1
    beat(store, "after the end")
    assert len(closed) == before + 2
    assert names(store) == ["after the end"]
