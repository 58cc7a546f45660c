"""Sends what is due to webhooks, beside everything else and in the way of nothing.

Any live process may run it, and several may at once: who sends what is decided in the database.
"""

import logging
import threading
import time

from service.errors import TrainyardError
from service.settings import Settings
from service.store import deliveries
from service.store.engine import Store
from service.webhooks.addresses import Resolve
from service.webhooks.attempts import Outcome, attempt, pause_after

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
GRACE_SECONDS = 1.0
LEASE_MARGIN_SECONDS = 30.0
"""A claim outlasts the time of a try by so much; the answer is noted meanwhile."""


def send_one(store: Store, settings: Settings, webhook_id: str, resolve: Resolve | None = None) -> bool:
    """Send the delivery to a webhook that has waited longest, once; False if none is due."""
    with store.begin() as session:
        claimed = deliveries.claim(session, webhook_id, settings.webhook_seconds + LEASE_MARGIN_SECONDS)
    if claimed is None:
        return False
    outcome = attempt(claimed.delivery, claimed.webhook, settings, resolve)
    _note(store, settings, claimed, outcome)
    return True


def _note(store: Store, settings: Settings, claimed: deliveries.Claimed, outcome: Outcome) -> None:
    delivery, number = claimed.delivery, claimed.delivery.attempts
    with store.begin() as session:
        if outcome.delivered:
            deliveries.delivered(session, delivery.id, number, outcome.status or 0)
            return
        pause = pause_after(number, settings)
        deliveries.refused(session, delivery.id, number, outcome.status, outcome.error or "", pause)
    # The URL is left out: what stands in its path or query may be a secret of the receiver's.
    log.info("delivery %s to %s, try %d: %s", delivery.id, claimed.webhook.id, number, outcome.error)


class Sender:
    """A thread that looks for what is due, and one for each try, until it is stopped.

    At most `webhook_senders` tries run at once, and one to each webhook: a receiver that hangs holds up only itself.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begin, unless this process is to send nothing; the first look is at once."""
        if self._settings.webhook_senders:
            self._thread.start()

    def stop(self) -> None:
        """Begin no further try. Those under way have a second; what they leave then is due again after its lease."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._busy and time.monotonic() < deadline:
            time.sleep(0.01)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self._look()
            except TrainyardError as error:
                log.warning("looking for deliveries failed, will try again: %s", error)
            except Exception:
                log.exception("looking for deliveries failed, will try again")
            self._wake.wait(LOOK_SECONDS)

    def _look(self) -> None:
        with self._lock:
            busy = frozenset(self._busy)
        free = self._settings.webhook_senders - len(busy)
        if free <= 0:
            return
        with self._store.read() as session:
            found = deliveries.due(session, free, busy)
        for webhook_id in found:
            with self._lock:
                self._busy.add(webhook_id)
            # Daemons: the end of a process waits for no receiver.
            threading.Thread(target=self._send, args=[webhook_id], name=f"to-{webhook_id}", daemon=True).start()

    def _send(self, webhook_id: str) -> None:
        sent = False
        try:
            sent = send_one(self._store, self._settings, webhook_id)
        except TrainyardError as error:
            log.warning("a delivery to %s failed, will try again: %s", webhook_id, error)
        except Exception:
            log.exception("a delivery to %s failed, will try again", webhook_id)
        finally:
            with self._lock:
                self._busy.discard(webhook_id)
        if sent:  # only then: a database that refuses is not asked again at once
            self._wake.set()
