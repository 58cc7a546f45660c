"""Attempts of predictions on real stores: what they come to, what disturbs them, and why they fail."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.data.formats import read_frame
from service.data.profile import ColumnProfile
from service.predict.bulk.bulk import Bulk
from service.predict.cache import load
from service.predict.messages import PredictRequest
from service.predict.predict import predict
from service.settings import Settings
from service.store import datasets, models, prediction_attempts, predictions
from service.store.blobs import read_blob
from service.store.engine import Store
from service.store.tables import Dataset
from tests.worker.predicting.predicted import ask, claimed, found, grown, made, model_of, result, rows_of
from tests.worker.runs import changed, put
from worker import draining
from worker.predicting import run as runs
from worker.predicting.attempt import run_attempt

ROWS = 700
AtStep = Callable[[int, Callable[[], None]], None]


@pytest.fixture
def model(sqlite_store: Store, settings: Settings, wine: Dataset) -> str:
    return model_of(sqlite_store, settings, wine)


@pytest.fixture
def many(sqlite_store: Store, wine_csv: bytes, tmp_path: Path) -> Dataset:
    """The wines again and again, as a data set."""
    return put(sqlite_store, tmp_path / "many.csv", grown(wine_csv, ROWS))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of two frames of fifty rows."""
    monkeypatch.setattr(runs, "FRAME_ROWS", 50)
    monkeypatch.setattr(runs, "PART_FRAMES", 2)


@pytest.fixture
def at_answer(monkeypatch: pytest.MonkeyPatch) -> AtStep:
    """Have something happen right after some rows were predicted: `at_answer(7, action)`; counted over attempts."""
    original, count = Bulk.answers, iter(range(1, 1_000_000))

    def arrange(number: int, action: Callable[[], None]) -> None:
        def answers(self: Any, *arguments: Any) -> Any:
            for some in original(self, *arguments):
                if next(count) == number:
                    action()
                yield some

        monkeypatch.setattr(Bulk, "answers", answers)

    return arrange


def test_it_comes_to_what_a_request_with_the_same_rows_is_answered(
    sqlite_store: Store, settings: Settings, model: str, many: Dataset
) -> None:
    row = made(sqlite_store, settings, ask(sqlite_store, model, many, mc_samples=20, seed=5))
    loaded = load(sqlite_store, model)
    names = [column.name for column in loaded.features.columns]
    frame = read_frame(read_blob(sqlite_store, many.sha256), many.format, columns_of(many), names)
    rows = [
        dict(zip(names, cells, strict=True)) for cells in zip(*(frame[n].values.tolist() for n in names), strict=True)
    ]
    expected = predict(loaded, PredictRequest(rows=rows, mc_samples=20, seed=5), settings).predictions
    answered = rows_of(result(sqlite_store, row))
    assert [one["label"] for one in answered] == [one["label"] for one in expected]
    for one, other in zip(answered, expected, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
        assert one["mutual_information"] == pytest.approx(other["mutual_information"], abs=1e-5)
    assert (row.rows_done, row.attempt, row.input) == (ROWS, 1, None)
    assert row.about == {
        "mc_samples": 20, "members": 1, "seed": 5, "stochastic_layers": ["dropout_2", "dropout_4"], "calibrated": True,
        "note": None,
    }  # fmt: skip


def columns_of(dataset: Dataset) -> list[ColumnProfile]:
    return [ColumnProfile.model_validate(column) for column in dataset.columns]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("at", [1, 2, 3, 9, 14])
def test_one_that_is_given_back_goes_on_behind_its_parts_and_ends_with_the_same_bytes(
    sqlite_store: Store, settings: Settings, model: str, many: Dataset, at_answer: AtStep, at: int
) -> None:
    whole = result(sqlite_store, made(sqlite_store, settings, ask(sqlite_store, model, many)))
    at_answer(at, draining.drain)
    broken = ask(sqlite_store, model, many)
    row = made(sqlite_store, settings, broken)
    kept = (at - 1) // 2 * 100
    assert (row.status, row.rows_done, row.worker) == ("queued", kept, None)
    draining.resume()
    row = made(sqlite_store, settings, broken)
    assert (row.attempt, row.rows_done, row.losses) == (2, ROWS, [])
    assert result(sqlite_store, row) == whole


@pytest.mark.usefixtures("small_parts")
def test_one_that_lost_its_prediction_writes_nothing(
    sqlite_store: Store, settings: Settings, model: str, many: Dataset, at_answer: AtStep
) -> None:
    prediction_id = ask(sqlite_store, model, many)

    def take() -> None:
        with sqlite_store.begin() as session:
            assert prediction_attempts.lose(session, prediction_id, 1, 3, "it seemed dead.")
            assert prediction_attempts.claim(session, "another", 30) is not None

    at_answer(5, take)
    run_attempt(sqlite_store, settings, claimed(sqlite_store, prediction_id))
    row = found(sqlite_store, prediction_id)
    assert (row.status, row.worker, row.attempt, row.rows_done) == ("running", "another", 2, 200)


@pytest.mark.usefixtures("small_parts")
def test_one_that_is_cancelled_stops(
    sqlite_store: Store, settings: Settings, model: str, many: Dataset, at_answer: AtStep
) -> None:
    prediction_id = ask(sqlite_store, model, many)

    def cancel() -> None:
        with sqlite_store.begin() as session:
            predictions.cancel(session, prediction_id)

    at_answer(5, cancel)
    row = made(sqlite_store, settings, prediction_id)
    assert (row.status, row.result) == ("cancelled", None)


def failed(store: Store, settings: Settings, model: str, dataset: Dataset, **options: Any) -> Any:
    row = made(store, settings, ask(store, model, dataset, **options))
    assert (row.status, row.result, row.input) == ("failed", None, None)
    return row


def test_a_value_that_is_missing_fails_it_with_row_and_column(
    sqlite_store: Store, settings: Settings, model: str, wine_csv: bytes, tmp_path: Path
) -> None:
    lines = grown(wine_csv, ROWS).splitlines(keepends=True)
    lines[601] = b"," + lines[601].partition(b",")[2]
    row = failed(sqlite_store, settings, model, put(sqlite_store, tmp_path / "hole.csv", b"".join(lines)))
    assert row.error_code == "invalid_rows"
    assert row.errors[0]["path"] == "rows[600].alcohol" and "is missing" in row.errors[0]["message"]
    assert "rows[600].alcohol" in row.error_message


def test_a_data_set_that_lacks_a_column_fails_it(
    sqlite_store: Store, settings: Settings, model: str, tmp_path: Path
) -> None:
    row = failed(sqlite_store, settings, model, put(sqlite_store, tmp_path / "a.csv", b"alcohol,b\n1,2\n3,4\n"))
    assert "no column 'malic_acid'" in row.error_message and row.error_code == "invalid_input"


def test_more_than_is_allowed_fails_it(sqlite_store: Store, settings: Settings, model: str, many: Dataset) -> None:
    strict = settings.model_copy(update={"max_stream_values": 1000})
    assert failed(sqlite_store, strict, model, many).error_code == "too_large"


def test_images_are_read_in_their_own_format(
    sqlite_store: Store, settings: Settings, digits_npz: bytes, tmp_path: Path
) -> None:
    digits = put(sqlite_store, tmp_path / "digits.npz", digits_npz, "npz")
    layers = [
        "flatten",
        {"type": "dense", "units": 16},
        {"type": "dropout", "rate": 0.1},
        {"type": "dense", "units": "auto"},
    ]
    spec = changed(network={"layers": layers}, training={"epochs": 1}, data={"preprocessing": "min_max"})
    model = model_of(sqlite_store, settings, digits, spec)
    row = made(sqlite_store, settings, ask(sqlite_store, model, digits, mc_samples=2))
    answered = rows_of(result(sqlite_store, row))
    assert len(answered) == digits.rows == 1797
    assert {one["label"] for one in answered} <= set(range(10))


def test_the_data_set_may_be_deleted_and_the_model_may_not(
    sqlite_store: Store, settings: Settings, model: str, many: Dataset
) -> None:
    prediction_id = ask(sqlite_store, model, many, mc_samples=1)
    with sqlite_store.begin() as session:
        datasets.delete(session, many.id)
    assert made(sqlite_store, settings, prediction_id).status == "succeeded"
    with sqlite_store.begin() as session:
        models.delete(session, model)
    assert result(sqlite_store, found(sqlite_store, prediction_id))
