"""Answers about predictions that are made later."""

from typing import Any, Literal, Self

from service.api.answers.base import Answer, Count, JsonObject, Sha256, Time
from service.data.numbering import row_of
from service.errors import Problem
from service.store import prediction_tables

PredictionStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class PredictionProgress(Answer):
    """How far a prediction has come."""

    rows: Count
    """Rows that there are to predict."""
    rows_done: Count
    """Rows that are predicted and kept: what is made again after a death are those behind them."""
    fraction: float
    """Share of the rows done, 0 to 1."""
    rows_per_second: float | None
    """Speed of the present attempt; null until it has kept some rows, and where none is at it."""
    eta_seconds: float | None
    """Seconds to go at this speed."""


class PredictionError(Answer):
    """Why a prediction failed."""

    code: str
    """Stable name of the kind of failure."""
    message: str
    """What happened, in words that a person can act on."""
    row: int | None
    """First row that does not fit, counted from 0; null where it is no row's fault."""
    column: str | None
    """Column of the value that does not fit."""
    errors: list[JsonObject]
    """Every value that is not allowed, as in a problem document."""


class PredictionResult(Answer):
    """What a prediction came to."""

    rows: Count
    """Predictions in the result, one a row, in the order of the rows."""
    size: Count
    """Bytes of the Parquet file."""
    sha256: Sha256
    """Hash of the Parquet file."""
    mc_samples: Count
    """Samples behind every prediction, with `adaptive` at most; 0 where the network has no stochastic layer."""
    members: Count = 1
    """Trained networks behind every prediction, each with so many samples."""
    seed: Count
    """Seed of the samples."""
    stochastic_layers: list[str]
    """Names of the layers that draw masks when there are samples."""
    calibrated: bool
    """Whether what was fitted on validation rows is applied."""
    note: str | None
    """What to know before trusting the spread; null: nothing."""


class Prediction(Answer):
    """All rows of a data set, or of an upload, predicted by a model."""

    id: str
    """Id of the prediction."""
    object: Literal["prediction"] = "prediction"
    """Always "prediction"."""
    status: PredictionStatus
    """Where it stands."""
    model: str
    """Id of the model."""
    dataset: str | None
    """Id of the data set; null where the rows were uploaded."""
    data_sha256: Sha256
    """Hash of the bytes of the rows."""
    options: JsonObject
    """What was asked of the model, with every default filled in."""
    progress: PredictionProgress
    """How far it has come."""
    attempt: Count
    """How many times a predictor has taken it up."""
    error: PredictionError | None
    """Why it failed; null unless it has."""
    result: PredictionResult | None
    """What it came to; null until it has succeeded. The predictions themselves: `GET .../result`."""
    created_at: Time
    """When it was asked for."""
    started_at: Time | None
    """When a predictor first took it up."""
    finished_at: Time | None
    """When it reached a final status."""

    @classmethod
    def of(cls, row: prediction_tables.Prediction) -> Self:
        """Return the answer for the row of a prediction."""
        return cls(
            id=row.id,
            status=row.status,  # type: ignore[arg-type]  # the table's check constraint has the same values
            model=row.model,
            dataset=row.dataset,
            data_sha256=row.data_sha256,
            options=row.options,
            progress=_progress(row),
            attempt=row.attempt,
            error=_error(row),
            result=_result(row),
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )


def _progress(row: prediction_tables.Prediction) -> PredictionProgress:
    speed = row.rows_per_second if row.status == "running" else None
    return PredictionProgress(
        rows=row.rows,
        rows_done=row.rows_done,
        fraction=row.rows_done / row.rows,
        rows_per_second=speed,
        eta_seconds=(row.rows - row.rows_done) / speed if speed else None,
    )


def _error(row: prediction_tables.Prediction) -> PredictionError | None:
    if row.error_code is None:
        return None
    errors: list[dict[str, Any]] = row.errors or []
    named = [row_of(Problem(error["path"], "")) for error in errors]
    first, column = next((place for place in named if place[0] is not None), (None, None))
    message = row.error_message or ""
    return PredictionError(code=row.error_code, message=message, row=first, column=column, errors=errors)


def _result(row: prediction_tables.Prediction) -> PredictionResult | None:
    if row.result is None or row.about is None:
        return None
    return PredictionResult(rows=row.rows, size=row.result_size or 0, sha256=row.result, **row.about)
