"""The Celery task of a predictor: an id in, a call into the modules beside it."""

from service.queue import PREDICT, PREDICTIONS
from service.store import prediction_attempts
from worker.app import app, child
from worker.draining import draining
from worker.predicting.attempt import run_attempt


def predict(prediction_id: str) -> None:
    """Claim the prediction that has waited longest, whichever the message named, and go on until there is none."""
    state = child()
    while not draining():
        with state.store.begin() as session:
            row = prediction_attempts.claim(session, state.name, state.settings.lease_seconds)
        if row is None:
            return
        run_attempt(state.store, state.settings, row)


predict_task = app.task(name=PREDICT, queue=PREDICTIONS, ignore_result=True)(predict)
