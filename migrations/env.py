"""How Alembic reaches the database: through the connection it is given, or the one of the settings.

`trainyard migrate` gives it a connection inside a transaction. A developer who makes a new revision runs
`alembic -c migrations/alembic.ini revision --autogenerate -m "..."`, and gets the one of the settings.
"""

from alembic import context
from sqlalchemy import Connection

from service.settings import Settings
from service.store.engine import open_store
from service.store.tables import Table


def run(connection: Connection) -> None:
    """Run what Alembic was asked for over this connection."""
    # SQLite rolls back DDL as well, now that BEGIN is ours to say (see store/engine.py).
    context.configure(
        connection=connection, target_metadata=Table.metadata, transactional_ddl=True, render_as_batch=True
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with open_store(Settings().effective_database_url).engine.begin() as own:
        run(own)
