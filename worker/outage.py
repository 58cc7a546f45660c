"""A database that does not answer for a while: attempts wait for it, and go on if their work is still theirs."""

import logging
import time
from collections.abc import Callable

from sqlalchemy.orm import Session

from service.errors import Unavailable
from service.settings import Settings
from service.store.engine import Store
from worker.draining import draining

log = logging.getLogger(__name__)
ASK_SECONDS = 0.5
"""Pause between two questions whether the database is back."""
Owns = Callable[[Session, float], bool]
"""Extends the lease after an outage of so many seconds; False where the attempt no longer owns its work."""


class Lost(Exception):
    """Another attempt owns the work, or it is wanted no more: nothing more may be written."""


def outlast(store: Store, settings: Settings, attempt: str, work: Callable[[bool], None], owns: Owns) -> None:
    """Do the work of an attempt; where the database fails it, wait, and do it again while the attempt `owns` it.

    `attempt` is its name in the log. `work` is told whether it is done again: what was about to be written may have
    been stored or not. Its being `Lost` ends it, and so does an outage longer than the settings allow.
    """
    again = False
    while True:
        try:
            work(again)
            return
        except Lost:
            log.warning("%s no longer owns it; nothing more is written", attempt)
            return
        except Unavailable as error:
            log.warning("%s waits, the database does not answer: %s", attempt, error)
            if not _goes_on(store, settings, owns):
                # The lease runs out, and the next attempt goes on from what is stored.
                log.error("%s left it", attempt)
                return
            again = True


def _goes_on(store: Store, settings: Settings, owns: Owns) -> bool:
    """Wait until the database answers; return whether the attempt still owns its work then."""
    began = time.monotonic()
    while not draining() and time.monotonic() - began < settings.outage_seconds:
        try:
            with store.begin() as session:
                return owns(session, time.monotonic() - began)
        except Unavailable:
            time.sleep(ASK_SECONDS)
    return False
