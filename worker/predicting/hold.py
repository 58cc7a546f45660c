"""Owning a prediction: a thread extends the lease, and what was lost is noticed between two steps."""

import logging
import threading

from service.errors import TrainyardError
from service.settings import Settings
from service.store import prediction_attempts
from service.store.engine import Store
from worker.draining import draining
from worker.outage import Lost

log = logging.getLogger(__name__)


class HoldLost(Lost):
    """Another attempt owns the prediction, or it was cancelled: nothing more may be written."""


class GivenBack(Exception):
    """The worker is to stop: the prediction goes to whoever comes next."""


class Hold:
    """A claimed prediction."""

    def __init__(self, store: Store, settings: Settings, prediction_id: str, attempt: int) -> None:
        self.prediction_id, self.attempt = prediction_id, attempt
        self._store, self._settings = store, settings
        self._lost, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"hold-{prediction_id}", daemon=True)

    def __enter__(self) -> "Hold":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=20)

    def check(self) -> None:
        """See that the work is still wanted; costs next to nothing.

        Raises:
            HoldLost: The prediction is no longer this attempt's.
            GivenBack: The worker is to stop.
        """
        if self._lost.is_set():
            raise HoldLost(self.prediction_id)
        if draining():
            raise GivenBack(self.prediction_id)

    def _beat(self) -> None:
        while not self._stop.wait(self._settings.heartbeat_seconds) and not self._lost.is_set():
            try:
                with self._store.begin() as session:
                    if not prediction_attempts.renew(
                        session, self.prediction_id, self.attempt, self._settings.lease_seconds
                    ):
                        self._lost.set()
            except TrainyardError as error:
                log.warning("prediction %s: no heartbeat: %s", self.prediction_id, error)
