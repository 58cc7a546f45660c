"""How many threads a job computes with: its share of the processor, or one."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pytest
import torch

from service.settings import Settings
from service.store.engine import Store
from tests.worker.runs import attempt, changed, put, queue
from worker import app
from worker.device import PARALLEL_WORK, use_threads


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with eight cores."""
    cores = cached_property(lambda _: 8)
    cores.__set_name__(Settings, "cores")
    monkeypatch.setattr(Settings, "cores", cores)


@pytest.mark.parametrize(
    ("slots", "threads"),
    [({}, 8), ({"slots": 2}, 4), ({"slots": 3}, 2), ({"slots": 20}, 1), ({"devices": "cpu,cpu"}, 4)],
)
def test_the_threads_of_all_slots_together_are_no_more_than_the_cores(
    slots: dict[str, object], threads: int, eight_cores: None
) -> None:
    assert Settings(**slots).threads_of_a_job == threads  # type: ignore[arg-type]
    assert Settings(**slots, threads_per_slot=3).threads_of_a_job == 3  # type: ignore[arg-type]


def test_slots_on_gpus_that_were_found_share_the_cores(eight_cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "SLOTS", ["cuda:0", "cuda:1", "cuda:2", "cuda:3"])
    assert app._shared(Settings()).threads_of_a_job == 2
    assert app._shared(Settings(threads_per_slot=5)).threads_of_a_job == 5


def test_small_steps_use_one_thread_and_large_ones_the_share() -> None:
    for work, threads in ((PARALLEL_WORK, 2), (PARALLEL_WORK - 1, 1), (10 * PARALLEL_WORK, 3)):
        use_threads(work, max(threads, 2))
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("slots", "threads"), [(4, 2), (8, 1)])
def test_a_large_job_computes_with_the_threads_of_its_slot(
    slots: int, threads: int, eight_cores: None, sqlite_store: Store, sqlite_url: str, wine_csv: bytes, tmp_path: Path
) -> None:
    wine = put(sqlite_store, tmp_path / "wine.csv", wine_csv)
    layers = [{"type": "dense", "units": 2000}, {"type": "dense", "units": 1000}, {"type": "dense", "units": "auto"}]
    settings = Settings(database_url=sqlite_url, slots=slots)
    for wide, used in ((layers, threads), (layers[2:], 1)):
        spec = changed(network={"layers": wide}, training={"epochs": 1})
        job = attempt(sqlite_store, settings, queue(sqlite_store, wine, spec))
        assert job.receipt and job.receipt["threads"] == used
