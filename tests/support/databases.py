"""Databases on one PostgreSQL server: made from a template, emptied and lent again, which costs a hundredth of it."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from service.store.tables import Table

numbers = itertools.count()
GROWN = 32 << 20
"""Bytes by which a database may grow before it is thrown away: its files keep the room of rows that are deleted."""
# Whatever changes a table, an index or a sequence, or the revision, leaves another row here. Copies keep these numbers.
SHAPE = """
SELECT md5(string_agg(it, ';' ORDER BY it)) FROM (
    SELECT concat_ws(' ', oid, xmin, relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', attrelid, attnum, a.xmin) FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', xmin, version_num) FROM alembic_version
) AS rows (it)
"""
EMPTY = (
    "SET session_replication_role = replica;"  # no foreign key is followed, in whatever order
    + "".join(f"DELETE FROM {name};" for name in Table.metadata.tables)
    + "SELECT setval(quote_ident(sequencename), start_value, false) FROM pg_sequences WHERE last_value IS NOT NULL"
)


@contextmanager
def postgres_database(server: psycopg.Connection[Any], template: str = "template1") -> Iterator[str]:
    """Make a database from a template, give its URL, and drop it."""
    name = create(server, template)
    try:
        yield url_of(server, name)
    finally:
        drop(server, name)


def create(server: psycopg.Connection[Any], template: str) -> str:
    """Make a database, and return its name."""
    name = f"test_{next(numbers)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return name


def drop(server: psycopg.Connection[Any], name: str) -> None:
    """Drop a database, whoever is connected to it."""
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def url_of(server: psycopg.Connection[Any], name: str) -> str:
    """Return the URL of a database."""
    return f"postgresql+psycopg://{server.info.user}@/{name}?host={server.info.host}"


class FreshDatabases:
    """Databases that are as their template, which has no rows.

    One that is given back gets another name, so that nobody who was left behind finds it again, and is emptied. It is
    dropped where it is no longer what it was: its schema is another, or it has grown.
    """

    def __init__(self, server: psycopg.Connection[Any], template: str) -> None:
        self._server, self._template = server, template
        self._spare: list[str] = []
        with self._connect(template) as sql:
            self._shape = _shape(sql)

    @contextmanager
    def one(self) -> Iterator[str]:
        """Lend a database, as its URL."""
        name = self._spare.pop() if self._spare else create(self._server, self._template)
        try:
            yield url_of(self._server, name)
        finally:
            self._take_back(name)

    def close(self) -> None:
        """Drop those that nobody has."""
        for name in self._spare:
            drop(self._server, name)

    def _take_back(self, old: str) -> None:
        name = f"test_{next(numbers)}"
        self._server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            [old],
        )
        try:
            self._server.execute(f"ALTER DATABASE {old} RENAME TO {name}")
        except psycopg.errors.ObjectInUse:  # somebody does not let go
            drop(self._server, old)
            return
        if self._emptied(name):
            self._spare.append(name)
        else:
            drop(self._server, name)

    def _emptied(self, name: str) -> bool:
        """Whether the database is as it was, now that its rows are gone."""
        with suppress(psycopg.errors.UndefinedTable), self._connect(name) as sql:
            if _shape(sql) != self._shape or self._size(name) > self._size(self._template) + GROWN:
                return False
            sql.execute(EMPTY)
            return True
        return False

    def _size(self, name: str) -> int:
        found = self._server.execute("SELECT pg_database_size(%s)", [name]).fetchone()
        assert found is not None
        return int(found[0])

    def _connect(self, name: str) -> psycopg.Connection[Any]:
        url = url_of(self._server, name).replace("+psycopg", "")
        return psycopg.connect(url, autocommit=True)


def _shape(sql: psycopg.Connection[Any]) -> object:
    return sql.execute(SHAPE).fetchone()
