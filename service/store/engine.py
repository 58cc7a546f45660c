"""Opening the store: one engine a process, and the only three ways to speak to it."""

import json
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from service.errors import InvalidInput, Problem, Unavailable
from service.store.forking import ForkGate

BUSY_SECONDS = 15
"""How long a writer waits for its turn, on SQLite, before it gives up."""
BETWEEN_TRIES = (0.0005, 0.003)
"""Seconds between two tries for the write lock, drawn at random so that nobody keeps step with anybody."""
POSTGRESQL_NAMES = ("postgres", "postgresql", "postgresql+psycopg")
SQLITE_NAMES = ("sqlite", "sqlite+pysqlite")
# A host that is cut off says nothing: without these a connection to it would wait for a quarter of an hour, and the
# locks of a process that was stopped in the middle of a transaction would be held until it goes on.
POSTGRESQL_PATIENCE = {
    "options": f"-c idle_in_transaction_session_timeout={BUSY_SECONDS}s",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
# A commit is on the disk before it is answered (FULL). A chunk is a thousand pages: checkpointing after four of them
# instead of each wrote 192 MB/s instead of 149. The log is cut back to 64 MiB once it has been larger.
SQLITE_PRAGMAS = (
    "foreign_keys = ON",
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 4000",
    "journal_size_limit = 67108864",
)


class Store:
    """The database of one process. Safe to share between threads, and to be forked over.

    Every transaction is short: nothing slow happens between `begin` and its end.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reading = engine.execution_options(reading=True, **_reading_options(engine))
        self._gate = ForkGate(engine)

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Open a transaction that is committed at the end of the block, and rolled back on any error.

        On SQLite it holds the write lock from its first statement on.

        Raises:
            Unavailable: The database does not answer, or its lock was not to be had in 15 s.
        """
        with self.session() as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction that sees one state of the database and can write nothing.

        Raises:
            Unavailable: The database does not answer.
        """
        with self._open(self._reading) as session:
            yield session

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a session that keeps nothing but what the block commits itself.

        Raises:
            Unavailable: The database does not answer, or its lock was not to be had in 15 s.
        """
        with self._open(self.engine) as session:
            yield session

    def dispose(self) -> None:
        """Close the idle connections, and from now on each as soon as it is; in a forked child forget the parent's."""
        self._gate.dispose()

    @contextmanager
    def _open(self, engine: Engine) -> Iterator[Session]:
        try:
            with self._gate.passage(), Session(engine, expire_on_commit=False) as session:
                yield session
        except PoolTimeout as error:
            raise Unavailable("The database has no connection to spare.") from error


def open_store(url: str) -> Store:
    """Open the store at a SQLAlchemy URL: a SQLite file, or PostgreSQL through psycopg 3.

    The folder of a SQLite file is made; the tables are not (see `schema.upgrade`).

    Raises:
        InvalidInput: The URL is none of a store.
    """
    parsed = _parse(url)
    engine = _open_sqlite(parsed) if parsed.drivername in SQLITE_NAMES else _open_postgresql(parsed)
    event.listen(engine, "handle_error", _translate)
    return Store(engine)


def _parse(url: str) -> URL:
    """Return the URL with the driver that is installed."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidInput([_bad_url("is not a database URL")]) from error
    if parsed.drivername in POSTGRESQL_NAMES:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in SQLITE_NAMES:
        raise InvalidInput([_bad_url("names a database that is not supported", parsed.drivername)])
    if parsed.database in (None, "", ":memory:"):
        raise InvalidInput([_bad_url("must name a file: every process opens the same database")])
    return parsed


def _bad_url(message: str, got: str | None = None) -> Problem:
    return Problem("database_url", message, got, ["sqlite:///FILE", "postgresql+psycopg://USER@HOST/DATABASE"])


def _open_sqlite(url: URL) -> Engine:
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    # A thread waits for the write lock, not for a connection: these are open files and cost next to nothing.
    pool = {"pool_size": 20, "max_overflow": -1}
    engine = create_engine(url, json_serializer=_json, connect_args={"timeout": BUSY_SECONDS}, **pool)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _open_postgresql(url: URL) -> Engine:
    patience = {name: value for name, value in POSTGRESQL_PATIENCE.items() if name not in url.query}
    pool: dict[str, Any] = {"pool_size": 10, "max_overflow": 30, "pool_pre_ping": True}
    return create_engine(url, json_serializer=_json, connect_args=patience, **pool)


def _json(value: object) -> str:
    """Refuse NaN, which PostgreSQL does not take for JSON, on either database."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # BEGIN is ours to say: the driver's own comes too late and is deferred
    # Only a file without a page yet can become one that shrinks, and in any other this waits for the write lock.
    new = connection.execute("PRAGMA page_count").fetchone() == (0,)
    for pragma in ("auto_vacuum = INCREMENTAL", *SQLITE_PRAGMAS) if new else SQLITE_PRAGMAS:
        _set_pragma(connection, pragma)


def _set_pragma(connection: sqlite3.Connection, pragma: str) -> None:
    """Set one PRAGMA, again while others hold the file.

    Turning a file to WAL makes a reader a writer, and there SQLite answers "locked" at once, whatever the busy
    timeout says: two who did so together would wait for each other for ever.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA {pragma}").close()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(random.uniform(*BETWEEN_TRIES))


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once: a transaction that read first could not get it later (SQLITE_BUSY_SNAPSHOT)."""
    reading = bool(connection.get_execution_options().get("reading", False))
    connection.exec_driver_sql(f"PRAGMA query_only = {int(reading)}")
    if reading:
        connection.exec_driver_sql("BEGIN")
    else:
        _wait_for_turn(connection)


def _wait_for_turn(connection: Connection) -> None:
    """Begin with the write lock, asking for it often.

    SQLite's own waiting sleeps up to 100 ms at a time; whoever writes in a loop has long taken the lock again by
    then, and a heartbeat beside an upload starves.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    deadline = time.monotonic() + BUSY_SECONDS
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while not _has_begun(driver):
            if time.monotonic() > deadline:
                raise Unavailable(f"The database does not answer: others have held its lock for {BUSY_SECONDS} s.")
            time.sleep(random.uniform(*BETWEEN_TRIES))
    finally:
        driver.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")


def _has_begun(driver: sqlite3.Connection) -> bool:
    try:
        driver.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if not _is_busy(error):
            raise Unavailable(f"The database does not answer: {_first_line(error)}.") from error
        return False
    return True


def _reading_options(engine: Engine) -> dict[str, Any]:
    if engine.dialect.name != "postgresql":
        return {}
    return {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}


def _translate(context: ExceptionContext) -> None:
    """Turn what the database says into errors of ours, at this one place."""
    if context.is_pre_ping:
        return  # the pool asks whether a connection is still good, and replaces it if not
    error = context.original_exception
    if isinstance(context.sqlalchemy_exception, OperationalError | InterfaceError):
        raise Unavailable(f"The database does not answer: {_first_line(error)}.") from error
    if isinstance(context.sqlalchemy_exception, DataError) or isinstance(error, UnicodeError | OverflowError):
        raise InvalidInput([Problem("", f"holds a value that cannot be stored: {_first_line(error)}")]) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
