"""INSERT .. ON CONFLICT, which SQLite and PostgreSQL both speak and SQLAlchemy spells per dialect."""

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.store.tables import Table

Upsert = postgresql.Insert | sqlite.Insert


def upsert(session: Session, table: type[Table]) -> Upsert:
    """Return an INSERT of the session's dialect, ready for `.values()` and `.on_conflict_do_..()`."""
    return postgresql.insert(table) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(table)
