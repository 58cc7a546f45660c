"""A real predictor: Celery over a real Redis, its child killed, its parent told to stop."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.queue import Queue
from service.settings import Settings
from service.stack import predictor_command
from service.store import predictions, workers
from service.store.engine import Store
from service.store.prediction_tables import Prediction
from service.store.tables import Dataset
from tests.support.warm import Process, warm_process
from tests.worker.predicting.predicted import ask, found, grown, made, model_of, result
from tests.worker.runs import put

PATIENCE = 90.0
ROWS = 110_000
"""Four parts, each of a second or two."""


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings of a predictor on this test's database and Redis."""
    return Settings(
        home=tmp_path, database_url=database_url, broker_url=redis_url, heartbeat_seconds=0.1, reconcile_seconds=0.3,
        webhook_senders=0,
    )  # fmt: skip


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[[], Process]]:
    """Start a predictor; all are stopped at the end."""
    started: list[Process] = []

    def begin() -> Process:
        environment = settings.environment() | {"OMP_NUM_THREADS": "1"}
        started.append(warm_process(predictor_command(), environment, tmp_path / "predictor.log"))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def wait_for(store: Store, prediction_id: str, condition: Callable[[Prediction], bool]) -> Prediction:
    """Return the prediction once the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition(row := found(store, prediction_id)):
        assert time.monotonic() < deadline, f"it stays {row.status} at row {row.rows_done}: {row.error_message}"
        time.sleep(0.02)
    return row


def ended(row: Prediction) -> bool:
    return row.status in ("succeeded", "failed", "cancelled")


def under_way(row: Prediction) -> bool:
    return row.status == "running" and row.rows_done > 0


def test_a_killed_child_and_a_stopped_parent_cost_nothing_but_time(
    store: Store, settings: Settings, wine_csv: bytes, tmp_path: Path, start: Callable[[], Process]
) -> None:
    wine = put(store, tmp_path / "wine.csv", wine_csv)
    many: Dataset = put(store, tmp_path / "many.csv", grown(wine_csv, ROWS))
    model = model_of(store, settings, wine)
    whole = result(store, made(store, settings, ask(store, model, many, mc_samples=1)))
    disturbed = ask(store, model, many, mc_samples=1)
    parent, messages = start(), Queue(settings.effective_broker_url)
    assert messages.enqueue_prediction(disturbed)
    os.kill(int(str(wait_for(store, disturbed, under_way).worker).split("/")[-1]), signal.SIGKILL)
    row = wait_for(store, disturbed, lambda row: row.status == "running" and row.attempt == 2)
    assert "was killed from outside" in row.losses[0] and row.rows_done > 0
    with store.read() as session:
        assert not workers.alive(session, 60)  # it trains nothing

    parent.terminate()
    assert parent.wait(timeout=30) == 0
    row = found(store, disturbed)
    assert (row.status, len(row.losses)) == ("queued", 1)
    start()  # no message: what was given back is found all the same
    row = wait_for(store, disturbed, ended)
    assert row.attempt == 3 and result(store, row) == whole

    cancelled = ask(store, model, many, mc_samples=50_000)
    behind = ask(store, model, wine, mc_samples=1)
    wait_for(store, cancelled, lambda row: row.status == "running")
    with store.begin() as session:
        predictions.cancel(session, cancelled)
    assert wait_for(store, behind, ended).status == "succeeded"
    messages.close()
