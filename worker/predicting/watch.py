"""The watch of a predictor's parent: it takes predictions from children that died."""

import logging

from sqlalchemy.orm import Session

from service.store import prediction_attempts
from worker.deaths import death
from worker.watch import Watch

log = logging.getLogger(__name__)


class PredictionWatch(Watch):
    """A thread of the predictor's parent. A predictor is in no list of workers: it trains nothing."""

    def _beat(self) -> None:
        pass

    def _take(self, session: Session, pid: int, exitcode: int | None) -> None:
        reason = death(pid, exitcode, "made")
        for row in prediction_attempts.held_by(session, self._name_of(pid)):
            prediction_attempts.lose(session, row.id, row.attempt, self._settings.max_attempts, reason)
            log.error("prediction %s: %s", row.id, reason)
