"""One attempt of a prediction: from the claim to its end, whatever that is."""

import logging

from sqlalchemy.orm import Session

from service.errors import InvalidInput, Problem, TrainyardError, Unavailable
from service.settings import Settings
from service.store import prediction_attempts
from service.store.engine import Store
from service.store.prediction_tables import Prediction
from worker.outage import Lost, outlast
from worker.predicting.hold import GivenBack, Hold
from worker.predicting.run import Run

log = logging.getLogger(__name__)
MOST_PROBLEMS = 100


def run_attempt(store: Store, settings: Settings, row: Prediction) -> None:
    """Make a claimed prediction to its end, or a reason why not; never raises what a prediction can cause.

    While the database does not answer the attempt waits for it, and then goes on behind what was kept.
    """

    def work(again: bool) -> None:
        with Hold(store, settings, row.id, row.attempt) as hold:
            _attempt(store, settings, row, hold)

    def owns(session: Session, seconds: float) -> bool:
        return prediction_attempts.renew(session, row.id, row.attempt, settings.lease_seconds)

    outlast(store, settings, f"prediction {row.id}: attempt {row.attempt}", work, owns)


def _attempt(store: Store, settings: Settings, row: Prediction, hold: Hold) -> None:
    try:
        Run(store, settings, row, hold).predict()
    except GivenBack:
        with store.begin() as session:
            prediction_attempts.give_back(session, row.id, row.attempt)
    except (Lost, Unavailable):
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
