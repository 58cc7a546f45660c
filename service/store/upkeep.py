"""What has to be thrown away now and then: bytes that nothing needs, old answers and deliveries, silent workers."""

from sqlalchemy import text

from service.store import deliveries, idempotency, queueing, workers
from service.store.blobs import collect
from service.store.engine import Store

FORGET_WORKERS_SECONDS = 86_400.0
VACUUM_PAGES = 8192
"""Free pages that one transaction gives back to the file system, on SQLite: 32 MiB."""


def tidy(store: Store, older_than: float = 3600) -> None:
    """Throw away what nothing has needed for `older_than` seconds, in many short transactions."""
    with store.begin() as session:
        idempotency.purge(session)
        queueing.forget_turns(session)
        workers.forget(session, FORGET_WORKERS_SECONDS)
    while True:
        with store.begin() as session:
            if deliveries.purge(session) < deliveries.PURGE_AT_ONCE:
                break
    while True:
        with store.begin() as session:
            gone = collect(session, older_than)
        if not gone.blobs and not gone.chunks:
            break
    if store.engine.dialect.name == "sqlite":
        _shrink(store)


def _shrink(store: Store) -> None:
    """Cut the free pages off the file; in PostgreSQL autovacuum does what is comparable."""
    before = None
    while True:
        with store.begin() as session:
            free = session.scalar(text("PRAGMA freelist_count"))
            if not free or free == before:  # a file that somebody made without auto_vacuum stays as it is
                return
            before = free
            # One step of this statement frees one page, and only the driver's own cursor takes them all.
            cursor = session.connection().connection.cursor()
            cursor.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
            cursor.fetchall()
            cursor.close()
