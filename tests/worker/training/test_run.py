"""One attempt of a job, and runs that are interrupted anywhere and end with the same bits."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from service.store import checkpoints, commands, events, jobs, metrics, models
from service.store.engine import Store
from service.store.tables import Chunk, Dataset
from tests.worker.runs import SPEC, attempt, changed, outcome, put, queue
from worker import draining

AtStep = Callable[[int, Callable[[], None]], None]
OPTIMIZERS: list[dict[str, Any]] = [
    {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9, "nesterov": True},
    {"type": "rmsprop", "momentum": 0.5},
    {"type": "adagrad"},
    {"type": "adam"},
    {"type": "nadam"},
    {"type": "adamw"},
    {"type": "adadelta"},
    {"type": "adamax"},
    {"type": "amsgrad"},
    {"type": "lion", "weight_decay": 0.1},
]
WAYS: list[dict[str, Any]] = [
    {"optimizer": "lbfgs", "training": {"batch_size": "all", "epochs": 30}},
    {"training": {"batch_size": "all", "epochs": 30}, "optimizer": {"type": "sgd", "momentum": 0.9}},
    {"training": {"batch_size": 4, "accumulate": 4}},
    {"training": {"averaging": {"type": "ema", "decay": 0.9}}},
    {"training": {"averaging": {"type": "swa", "start": 0.3}}},
    {"training": {"averaging": {"type": "swa", "start": 0.3}}, "data": {"split": {"validation": 0.0}}},
    {"schedule": {"type": "reduce_on_plateau", "patience": 1, "min_delta": 0.3, "gamma": 0.5}},
    {"schedule": {"type": "simulated_annealing", "temperature": 0.01}},
    {"network": {"regularizer": {"activity_l1": 0.01}, "constraint": {"non_negative": True, "unit_norm": True}}},
    {"regularization": {"clip_value": 0.01, "clip_norm": 0.05, "early_stopping": {"patience": 2}}},
]


def test_a_run_leaves_a_model_metrics_checkpoints_and_a_receipt(
    sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, SPEC))
    assert (job.status, job.epoch, job.step, job.total_steps) == ("succeeded", 6, 42, 42)
    assert job.receipt is not None and job.receipt["weights_sha256"]
    with sqlite_store.read() as session:
        model = models.get(session, str(job.model))
        rows = metrics.query(session, job.id)
        kept = checkpoints.resumable(session, job.id)
        story = [event.type for event in events.since(session, job.id)]
    assert model.weights_sha256 == job.receipt["weights_sha256"]
    assert set(model.metrics) == {"train", "validation", "test"}
    assert model.metrics["test"]["accuracy"] > 0.8
    names = {(row.split, row.name) for row in rows}
    assert names >= {(s, n) for s in ("train", "validation", "test") for n in ("loss", "accuracy")}
    assert [r.step for r in rows if r.name == "batch_loss"] == list(range(3, 43, 3))
    assert any(row.last for row in kept) and any(row.best for row in kept)
    assert story[0] == "queued" and story[-1] == "succeeded"


def test_the_same_spec_data_and_seed_give_the_same_bits_and_another_seed_others(
    sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    runs = [queue(sqlite_store, wine, spec) for spec in (SPEC, SPEC, changed(training={"seed": 1}))]
    for job_id in runs:
        attempt(sqlite_store, settings, job_id)
    first, second, other = (outcome(sqlite_store, job_id) for job_id in runs)
    assert first == second
    assert first[0] != other[0]


@pytest.mark.parametrize(
    ("optimizer", "steps"), [(o, [0, 14, 21, 41] if o["type"] == "adam" else [21]) for o in OPTIMIZERS], ids=str
)
def test_a_run_given_back_at_any_step_ends_with_the_bits_of_an_undisturbed_one(
    optimizer: dict[str, Any],
    steps: list[int],
    sqlite_store: Store,
    settings: Settings,
    wine: Dataset,
    at_step: AtStep,
) -> None:
    ends_with_the_same_bits(changed(optimizer=optimizer), steps, sqlite_store, settings, wine, at_step)


def ends_with_the_same_bits(
    spec: dict[str, Any], steps: list[int], store: Store, settings: Settings, data: Dataset, at_step: AtStep
) -> None:
    """Compare an undisturbed run with one for each step that is given back there."""
    whole = queue(store, data, spec)
    attempt(store, settings, whole)

    for step in steps:
        broken = queue(store, data, spec)
        at_step(step, draining.drain)
        assert attempt(store, settings, broken).status == "queued", step
        draining.resume()
        at_step(-1, draining.drain)
        attempt(store, settings, broken)
        assert outcome(store, broken) == outcome(store, whole), step


@pytest.mark.parametrize("sections", WAYS, ids=str)
def test_every_way_of_training_goes_on_with_the_same_bits(
    sections: dict[str, Any], sqlite_store: Store, settings: Settings, wine: Dataset, at_step: AtStep
) -> None:
    ends_with_the_same_bits(changed(**sections), [16, 21], sqlite_store, settings, wine, at_step)


def test_a_line_search_that_has_seen_little_goes_on_with_the_same_bits(
    sqlite_store: Store, settings: Settings, wine: Dataset, at_step: AtStep
) -> None:
    spec = changed(optimizer={"type": "lbfgs", "iterations": 2}, training={"batch_size": "all", "epochs": 4})
    ends_with_the_same_bits(spec, [1, 2], sqlite_store, settings, wine, at_step)


def test_an_attempt_that_dies_without_a_word_is_gone_on_with_from_its_last_checkpoint(
    sqlite_store: Store, settings: Settings, wine: Dataset, at_step: AtStep
) -> None:
    spec = changed(training={"checkpoint_seconds": 0.0})
    whole = queue(sqlite_store, wine, spec)
    attempt(sqlite_store, settings, whole)

    broken = queue(sqlite_store, wine, spec)

    def lose() -> None:
        with sqlite_store.begin() as session:
            jobs.lose(session, broken, 1, 3, "a test took it.")

    at_step(25, lose)
    assert attempt(sqlite_store, settings, broken).status == "queued"
    at_step(-1, lose)
    job = attempt(sqlite_store, settings, broken)
    assert (job.attempt, job.lost) == (2, 1)
    assert outcome(sqlite_store, broken) == outcome(sqlite_store, whole)
    with sqlite_store.read() as session:
        assert "resumed" in [event.type for event in events.since(session, broken)]


def test_a_corrupt_checkpoint_is_passed_over_and_said_so(
    sqlite_store: Store, settings: Settings, wine: Dataset, at_step: AtStep
) -> None:
    whole = queue(sqlite_store, wine, SPEC)
    attempt(sqlite_store, settings, whole)
    broken = queue(sqlite_store, wine, SPEC)
    at_step(20, draining.drain)
    attempt(sqlite_store, settings, broken)
    with sqlite_store.begin() as session:
        blob = checkpoints.resumable(session, broken)[0].blob
        session.get_one(Chunk, blob).data = b"rotten"
    draining.resume()
    at_step(-1, draining.drain)
    attempt(sqlite_store, settings, broken)
    assert outcome(sqlite_store, broken) == outcome(sqlite_store, whole)
    with sqlite_store.read() as session:
        assert "checkpoint_corrupt" in [event.type for event in events.since(session, broken)]


def test_the_checkpoint_before_a_corrupt_one_is_gone_on_from(
    store: Store, database_url: str, wine_csv: bytes, tmp_path: Path, at_step: AtStep
) -> None:
    settings, wine = Settings(database_url=database_url), put(store, tmp_path / "wine.csv", wine_csv)
    spec = changed(training={"checkpoint_steps": 5})
    whole = queue(store, wine, spec)
    attempt(store, settings, whole)
    broken = queue(store, wine, spec)
    at_step(38, draining.drain)
    attempt(store, settings, broken)
    with store.begin() as session:
        last, before = [row for row in checkpoints.resumable(session, broken) if row.state][:2]
        session.get_one(Chunk, last.blob).data = b"rotten"
    draining.resume()
    at_step(-1, draining.drain)
    attempt(store, settings, broken)
    assert outcome(store, broken) == outcome(store, whole)
    with store.read() as session:
        story = {event.type: event for event in events.since(session, broken)}
    assert story["resumed"].data == {"step": before.step} and 0 < before.step < last.step
    assert last.id in story["checkpoint_corrupt"].message


def test_early_stopping_restores_the_best_weights(sqlite_store: Store, settings: Settings, wine: Dataset) -> None:
    stopping = {"early_stopping": {"monitor": "val_accuracy", "patience": 2}}
    spec = changed(training={"epochs": 200}, regularization=stopping, optimizer={"type": "adam", "learning_rate": 0.05})
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, spec))
    assert job.receipt is not None
    assert job.epoch == job.receipt["best_epoch"] + 2 < 200
    with sqlite_store.read() as session:
        best = max(m.value or 0 for m in metrics.query(session, job.id, name="accuracy", split="validation"))
        assert models.get(session, str(job.model)).metrics["validation"]["accuracy"] == best


def test_a_loss_that_is_not_finite_fails_the_job_and_names_the_step(
    sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    spec = changed(optimizer={"type": "sgd", "learning_rate": 1e9})
    spec["network"] = {
        "layers": [{"type": "dense", "units": 8, "activation": "relu"}, {"type": "dense", "units": "auto"}]
    }
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, spec))
    assert (job.status, job.error_code) == ("failed", "non_finite_loss")
    assert "at step" in str(job.error_message) and "learning_rate" in str(job.error_message)


def test_cancelling_stops_at_the_next_step_and_keeps_a_checkpoint(
    sqlite_store: Store, settings: Settings, wine: Dataset, at_step: AtStep
) -> None:
    job_id = queue(sqlite_store, wine, changed(training={"epochs": 100_000}))

    def cancel() -> None:
        with sqlite_store.begin() as session:
            commands.give(session, job_id, "cancel")

    at_step(12, cancel)
    assert attempt(sqlite_store, settings, job_id).status == "cancelled"
    with sqlite_store.read() as session:
        assert checkpoints.last(session, job_id) is not None


def test_a_data_set_that_is_gone_fails_the_job_with_that_reason(
    sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    job_id = queue(sqlite_store, wine, SPEC)
    with sqlite_store.begin() as session:
        session.delete(session.get_one(Dataset, wine.id))
    job = attempt(sqlite_store, settings, job_id)
    assert (job.status, job.error_code) == ("failed", "dataset_gone")


def test_regression_metrics_are_in_the_targets_own_units(
    sqlite_store: Store, settings: Settings, diabetes_csv: bytes, tmp_path: Path
) -> None:
    dataset = put(sqlite_store, tmp_path / "d.csv", diabetes_csv)
    spec = changed(loss="mse", data={"target_preprocessing": "standardize"}, training={"epochs": 30})
    job = attempt(sqlite_store, settings, queue(sqlite_store, dataset, spec))
    with sqlite_store.read() as session:
        found = models.get(session, str(job.model)).metrics["test"]
    assert 30 < found["rmse"] < 70 and found["mae"] < found["rmse"] and 0.2 < found["r2"] < 0.8
    assert math.isclose(found["loss"], (found["rmse"] / 77) ** 2, rel_tol=0.15)  # 77: the target's deviation


def test_without_validation_rows_the_last_weights_are_kept(
    sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    spec = changed(data={**SPEC["data"], "split": {"validation": 0.0}}, training={"epochs": 2})
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, spec))
    assert job.receipt is not None and job.receipt["best_epoch"] is None
    assert job.status == "succeeded"


def test_the_last_weights_are_kept_where_the_specification_says_so(
    sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    # At this rate of learning the validation rows get worse from an early epoch on.
    fast = {"type": "adam", "learning_rate": 0.1}
    last, best = (
        attempt(sqlite_store, settings, queue(sqlite_store, wine, changed(training=training, optimizer=fast)))
        for training in ({"keep": "last", "epochs": 40}, {"epochs": 40})
    )
    assert last.receipt is not None and best.receipt is not None
    assert last.receipt["best_epoch"] is None and 0 < best.receipt["best_epoch"] < 40
    assert last.receipt["weights_sha256"] != best.receipt["weights_sha256"]
    with sqlite_store.read() as session:
        model = models.get(session, str(last.model))
        (at_end,) = metrics.query(session, last.id, name="loss", split="validation", since=39 * 7)
    assert model.metrics["validation"]["loss"] == at_end.value
    assert model.calibration is not None and model.calibration["rows"] > 0


def test_checkpoints_come_by_steps_and_those_that_are_kept_stay(
    sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    spec = changed(training={"checkpoint_steps": 5, "keep_every_epochs": 2, "checkpoint_seconds": 1000})
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, spec))
    with sqlite_store.read() as session:
        told = [event.data["step"] for event in events.since(session, job.id) if event.type == "checkpoint"]
        rows = checkpoints.resumable(session, job.id)
    assert set(told) == {5, 10, 14, 15, 20, 25, 28, 30, 35, 40}  # 7 steps an epoch; the last is stored with the model
    assert {row.step for row in rows if row.kept} == {14, 28, 42}
    assert {row.step for row in rows if row.last} == {42}
    assert outcome(sqlite_store, job.id)[0] == reference(sqlite_store, settings, wine)


def reference(store: Store, settings: Settings, data: Dataset) -> str:
    """Return the hash of the weights of the plain run."""
    return outcome(store, attempt(store, settings, queue(store, data, SPEC)).id)[0]


def test_a_run_that_takes_too_long_fails_with_a_checkpoint_and_can_be_tried_again(
    sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    spec = changed(training={"epochs": 100_000, "max_seconds": 0.5})
    job_id = queue(sqlite_store, wine, spec)
    job = attempt(sqlite_store, settings, job_id)
    assert (job.status, job.error_code) == ("failed", "time_limit")
    assert "longer than training.max_seconds, 0.5 s" in str(job.error_message)
    with sqlite_store.begin() as session:
        first = checkpoints.last(session, job_id)
        commands.give(session, job_id, "retry")
    attempt(sqlite_store, settings, job_id)
    with sqlite_store.read() as session:
        second = checkpoints.last(session, job_id)
    assert first is not None and second is not None and second.step > first.step > 0


def test_a_step_that_takes_too_long_fails_the_job(
    sqlite_store: Store, settings: Settings, wine: Dataset, at_step: AtStep
) -> None:
    job_id = queue(sqlite_store, wine, changed(training={"max_step_seconds": 0.3}))
    at_step(9, lambda: time.sleep(1.0))
    job = attempt(sqlite_store, settings, job_id)
    assert (job.status, job.error_code) == ("failed", "time_limit")
    assert "training.max_step_seconds, 0.3 s" in str(job.error_message)
