"""Predictions in real stores: a model to make them by, queueing them, and what they came to."""

import io
from typing import Any

import polars as pl

from service.predict.messages import PredictOptions
from service.settings import Settings
from service.store import datasets, prediction_attempts, predictions
from service.store.blobs import blob_bytes
from service.store.engine import Store
from service.store.prediction_tables import Prediction
from service.store.tables import Dataset
from tests.worker.runs import SPEC, attempt, queue
from worker.predicting.attempt import run_attempt


def model_of(store: Store, settings: Settings, dataset: Dataset, spec: dict[str, Any] = SPEC) -> str:
    """Train a model for a moment, with the worker's own code."""
    job = attempt(store, settings, queue(store, dataset, spec))
    assert job.status == "succeeded" and job.model, job.error_message
    return job.model


def grown(dataset_csv: bytes, rows: int) -> bytes:
    """Return a CSV file of so many rows: those of another, again and again."""
    header, *lines = dataset_csv.splitlines(keepends=True)
    return header + b"".join((lines * (rows // len(lines) + 1))[:rows])


def ask(store: Store, model: str, dataset: Dataset, **options: Any) -> str:
    """Queue the prediction of a data set, past HTTP."""
    asked = PredictOptions.model_validate(options).model_dump(mode="json")
    with store.begin() as session:
        held = datasets.hold(session, dataset.id)
        return predictions.insert(
            session, model=model, dataset=held.id, data_sha256=held.sha256, format=held.format, columns=held.columns,
            input=held.sha256, options=asked, rows=held.rows, most_queued=100,
        ).id  # fmt: skip


def claimed(store: Store, prediction_id: str) -> Prediction:
    """Claim the oldest prediction, which is to be this one."""
    with store.begin() as session:
        row = prediction_attempts.claim(session, "here", 30)
    assert row is not None and row.id == prediction_id
    return row


def made(store: Store, settings: Settings, prediction_id: str) -> Prediction:
    """Make one attempt, and return what became of the prediction."""
    run_attempt(store, settings, claimed(store, prediction_id))
    return found(store, prediction_id)


def found(store: Store, prediction_id: str) -> Prediction:
    """Return a prediction as it is now."""
    with store.read() as session:
        return predictions.get(session, prediction_id)


def result(store: Store, row: Prediction) -> bytes:
    """Return the Parquet file of a prediction that has succeeded."""
    assert row.status == "succeeded" and row.result is not None, row.error_message
    return blob_bytes(store, row.result)


def rows_of(content: bytes) -> list[dict[str, Any]]:
    """Return the predictions in a Parquet file."""
    return pl.read_parquet(io.BytesIO(content)).to_dicts()
