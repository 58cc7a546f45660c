"""Calibration as the worker does it: on validation rows alone, with the samples that predictions draw."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from service.predict.cache import load
from service.settings import Settings
from service.store import jobs, models
from service.store.engine import Store
from service.store.tables import Dataset
from service.uncertainty.calibration import Calibration
from service.uncertainty.temperature import fit_temperature
from tests.worker.runs import attempt, changed, put, queue
from worker import draining
from worker.data import load as load_data
from worker.training import calibrate
from worker.training.calibrate import calibration_of

AtStep = Callable[[int, Callable[[], None]], None]
REGRESSION: dict[str, Any] = {"loss": "mse", "data": {"target_preprocessing": "standardize"}}


def calibration(store: Store, job_id: str) -> dict[str, Any] | None:
    with store.read() as session:
        job = jobs.get(session, job_id)
        assert job.status == "succeeded", job.error_message
        return models.get(session, str(job.model)).calibration


@pytest.fixture
def diabetes(sqlite_store: Store, diabetes_csv: bytes, tmp_path: Path) -> Dataset:
    """A regression."""
    return put(sqlite_store, tmp_path / "diabetes.csv", diabetes_csv)


def test_the_scores_are_those_of_predictions_of_the_validation_rows(
    sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    spec = changed()
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, spec))
    model = load(sqlite_store, str(job.model))
    assert model.calibration is not None
    data = load_data(sqlite_store, wine, model.spec)
    assert model.calibration.rows == len(data.validation) == 36
    logits = model.monte_carlo.samples(data.x[data.validation], 50, 0, 1 << 26).double()
    p = (logits / model.calibration.temperatures).softmax(-1).mean(0)
    scores = 1 - p.gather(1, data.y[data.validation][:, None])[:, 0]
    (kept,) = model.calibration.conformal
    torch.testing.assert_close(scores.sort().values, torch.tensor(kept.kept).double(), rtol=1e-4, atol=1e-6)


def test_of_few_rows_more_samples_are_fitted_on(sqlite_store: Store, settings: Settings, wine: Dataset) -> None:
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, changed()))
    model = load(sqlite_store, str(job.model))
    data = load_data(sqlite_store, wine, model.spec)
    assert model.calibration is not None and model.calibration.mc_samples == 50
    logits = model.monte_carlo.samples(data.x[data.validation], calibrate.MOST_SAMPLES, 0, 1 << 26)
    fitted = fit_temperature(model.spec.loss, logits, data.y[data.validation])
    assert model.calibration.temperature == pytest.approx(tuple(fitted.tolist()), rel=1e-4)


@pytest.mark.parametrize("sections", [{}, REGRESSION, {"training": {"averaging": "ema"}}], ids=str)
def test_a_disturbed_run_ends_with_the_same_calibration(
    sections: dict[str, Any],
    sqlite_store: Store,
    settings: Settings,
    wine: Dataset,
    diabetes: Dataset,
    at_step: AtStep,
) -> None:
    spec, data = changed(**sections), diabetes if sections is REGRESSION else wine
    whole, broken = queue(sqlite_store, data, spec), queue(sqlite_store, data, spec)
    attempt(sqlite_store, settings, whole)
    at_step(20, draining.drain)
    assert attempt(sqlite_store, settings, broken).status == "queued"
    draining.resume()
    at_step(-1, draining.drain)
    attempt(sqlite_store, settings, broken)
    found = calibration(sqlite_store, whole)
    assert found is not None and found == calibration(sqlite_store, broken)


def test_a_run_that_is_asked_to_stop_while_it_calibrates_is_finished_by_the_next(
    sqlite_store: Store, settings: Settings, wine: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = queue(sqlite_store, wine, changed()), queue(sqlite_store, wine, changed())
    attempt(sqlite_store, settings, whole)
    original = calibrate._outputs

    def drained(*arguments: Any) -> torch.Tensor:
        draining.drain()
        return original(*arguments)

    monkeypatch.setattr(calibrate, "_outputs", drained)
    assert attempt(sqlite_store, settings, broken).status == "queued"
    monkeypatch.undo()
    draining.resume()
    attempt(sqlite_store, settings, broken)
    assert calibration(sqlite_store, broken) == calibration(sqlite_store, whole)


def test_without_validation_rows_there_is_none(sqlite_store: Store, settings: Settings, wine: Dataset) -> None:
    spec = changed(data={"split": {"validation": 0.0, "test": 0.2}})
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, spec))
    assert calibration(sqlite_store, job.id) is None


@pytest.mark.parametrize("layers", [[{"type": "dense", "units": "auto"}], None], ids=["plain", "dropout"])
def test_rows_without_end_are_drawn_from(
    layers: list[Any] | None, sqlite_store: Store, settings: Settings, wine: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "MOST_ROWS", 20)
    job = attempt(
        sqlite_store,
        settings,
        queue(sqlite_store, wine, changed(**({"network": {"layers": layers}} if layers else {}))),
    )
    model = load(sqlite_store, str(job.model))
    data = load_data(sqlite_store, wine, model.spec)
    found = [calibration_of(model.monte_carlo, model.spec, data, 1 << 26, lambda: None) for _ in range(2)]
    assert found[0] is not None and found[0] == found[1]
    assert found[0].rows == 20 and found[0].mc_samples == (0 if layers else 50)
    kept = calibration(sqlite_store, job.id)
    assert kept is not None and Calibration.from_json(kept).rows == 20


def test_penalties_on_activities_do_not_stand_in_the_way(
    sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    spec = changed(network={"regularizer": {"activity_l1": 0.01}})
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, spec))
    assert calibration(sqlite_store, job.id) is not None
