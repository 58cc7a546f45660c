"""One attempt of a prediction: from the claim to its end, whatever that is."""

import logging
import time

from service.errors import InvalidInput, Problem, TrainyardError, Unavailable
from service.settings import Settings
from service.store import prediction_attempts
from service.store.engine import Store
from service.store.prediction_tables import Prediction
from worker.draining import draining
from worker.predicting.hold import GivenBack, Hold, HoldLost
from worker.predicting.run import Run

log = logging.getLogger(__name__)
ASK_SECONDS = 0.5
"""Pause between two questions whether the database is back."""
MOST_PROBLEMS = 100


def run_attempt(store: Store, settings: Settings, row: Prediction) -> None:
    """Make a claimed prediction to its end, or a reason why not; never raises what a prediction can cause.

    While the database does not answer the attempt waits for it, and then goes on behind what was kept.
    """
    while True:
        try:
            with Hold(store, settings, row.id, row.attempt) as hold:
                _attempt(store, settings, row, hold)
            return
        except HoldLost:
            log.warning("prediction %s: attempt %s no longer owns it; nothing is written", row.id, row.attempt)
            return
        except Unavailable as error:
            log.warning("prediction %s: attempt %s waits for the database: %s", row.id, row.attempt, error)
            if not _wait_for_database(store, settings, row):
                log.error("prediction %s: attempt %s left it", row.id, row.attempt)
                return


def _wait_for_database(store: Store, settings: Settings, row: Prediction) -> bool:
    """Wait until the database answers; return whether the attempt still owns its prediction then."""
    began = time.monotonic()
    while not draining() and time.monotonic() - began < settings.outage_seconds:
        try:
            with store.begin() as session:
                return prediction_attempts.renew(session, row.id, row.attempt, settings.lease_seconds)
        except Unavailable:
            time.sleep(ASK_SECONDS)
    return False


def _attempt(store: Store, settings: Settings, row: Prediction, hold: Hold) -> None:
    try:
        Run(store, settings, row, hold).predict()
    except GivenBack:
        with store.begin() as session:
            prediction_attempts.give_back(session, row.id, row.attempt)
    except (HoldLost, Unavailable):
        raise
    except InvalidInput as error:
        _fail(store, row, error.code, error.message, error.problems)
    except TrainyardError as error:
        _fail(store, row, error.code, error.message)
    except Exception as error:
        log.exception("prediction %s: attempt %s failed", row.id, row.attempt)
        _fail(store, row, "internal_error", f"The prediction failed unexpectedly: {type(error).__name__}: {error}")


def _fail(store: Store, row: Prediction, code: str, message: str, problems: tuple[Problem, ...] = ()) -> None:
    errors = [
        {"path": problem.path, "message": problem.message, "got": problem.got, "allowed": problem.allowed}
        for problem in problems[:MOST_PROBLEMS]
    ]
    with store.begin() as session:
        prediction_attempts.fail(session, row.id, row.attempt, code, message, errors)
