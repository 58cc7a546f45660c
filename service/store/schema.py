"""The version of the database's schema: bringing it up to date, and refusing one that is not."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from service.errors import SchemaMismatch
from service.store.engine import Store, open_store
from service.store.tables import Table

LOCK = 7_245_187_923_014
"""The PostgreSQL advisory lock that migrations take turns by."""
FOLDER = files("migrations")
"""Where the migrations lie; a package beside this one, named and not imported."""


def upgrade(url: str) -> None:
    """Bring an empty or older database up to date, in one transaction; processes that do so at once take turns.

    Raises:
        SchemaMismatch: The database is ahead of this version, or holds tables of the same names by somebody else.
        Unavailable: The database does not answer.
    """
    store = open_store(url)
    try:
        with store.begin() as session:
            _upgrade(session.connection())
    finally:
        store.dispose()


def check(store: Store) -> None:
    """See that the database is the one that this version needs.

    Raises:
        SchemaMismatch: It is empty, behind or ahead; the message says what to do.
        Unavailable: The database does not answer.
    """
    with store.read() as session:
        present = revision(session.connection())
    scripts = _scripts()
    if present == scripts.get_current_head():
        return
    _refuse_ahead(present, scripts)
    raise SchemaMismatch(
        f"The database is {'behind' if present else 'empty'}: it is at revision {present}, and this version"
        f" of Trainyard needs {scripts.get_current_head()}. Run `trainyard migrate`."
    )


def revision(connection: Connection) -> str | None:
    """Return the revision a database is at, None where it was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    present = revision(connection)
    _refuse_ahead(present, _scripts())
    if present is None:
        _refuse_foreign(connection)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _refuse_ahead(present: str | None, scripts: ScriptDirectory) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    if present is not None and present not in known:
        raise SchemaMismatch(
            f"The database is ahead: it is at revision {present}, and this version of Trainyard knows none beyond"
            f" {scripts.get_current_head()}. Install the newer version that migrated it."
        )


def _refuse_foreign(connection: Connection) -> None:
    taken = sorted(set(inspect(connection).get_table_names()) & set(Table.metadata.tables))
    if taken:
        raise SchemaMismatch(
            f"The database holds tables named {', '.join(taken)} that no migration of Trainyard made."
            " Give Trainyard a database of its own."
        )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    # ConfigParser takes % for interpolation, and a path may hold one.
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
