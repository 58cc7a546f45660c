"""INSERT .. ON CONFLICT, which SQLite and PostgreSQL both speak and SQLAlchemy spells per dialect."""

from sqlalchemy import TableClause
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.store.tables import Table

Upsert = postgresql.Insert | sqlite.Insert


def upsert(session: Session, table: type[Table]) -> Upsert:
    """Return an INSERT of the session's dialect, ready for `.values()` and `.on_conflict_do_..()`."""
    return insert_of(session.get_bind().dialect.name, table)


def insert_of(dialect: str, table: type[Table] | TableClause) -> Upsert:
    """Return an INSERT of a dialect, by its name; into a table itself it takes many rows at a time."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
