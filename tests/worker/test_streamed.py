"""Data that are streamed from the disk: the same bits as from memory, whatever becomes of the run."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.settings import Settings
from service.store import events, jobs
from service.store.engine import Store
from service.store.tables import Dataset
from tests.worker.conftest import AtStep
from tests.worker.runs import attempt, changed, outcome, put, queue
from worker import data as reading
from worker import draining, rows, source
from worker.cache.streamed import key_of
from worker.data import columns_of, used_columns

RANDOM = np.random.default_rng(0)
COUNT = 240
CNN: dict[str, Any] = {
    "network": {
        "layers": [
            {"type": "conv2d", "filters": 4, "kernel_size": 3, "activation": "relu"},
            "batch_norm",
            "flatten",
            {"type": "dropout", "rate": 0.3},
            {"type": "dense", "units": "auto"},
        ]
    },
    "data": {"target": "y", "preprocessing": "standardize", "augmentation": ["random_flip"]},
}
STEPS = [
    {"type": "impute", "strategy": "median"},
    "one_hot",
    "robust",
    {"type": "pca_whitening", "columns": ["a", "b"]},
]
TABLE: dict[str, Any] = {
    "data": {
        "target": "target",
        "preprocessing": STEPS,
        "split": {"group": "site", "test": 0.2},
        "sample_weight": "w",
    }
}
REGRESSION: dict[str, Any] = {
    "loss": "mse",
    "data": {
        "target": ["t"],
        "features": ["b"],
        "preprocessing": "standardize",
        "target_preprocessing": "standardize",
    },
    "metrics": [],
}


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, x=RANDOM.integers(0, 256, (COUNT, 6, 6, 3)).astype(np.uint8), y=np.arange(COUNT) % 3)
    return file.getvalue()


def columns_first() -> bytes:
    file = io.BytesIO()
    np.savez(file, x=np.asfortranarray(RANDOM.normal(size=(COUNT, 5))), y=np.arange(COUNT) % 3)
    return file.getvalue()


def csv() -> bytes:
    lines = ["a,b,word,site,w,t,target"]
    for i in range(COUNT):
        a = "" if i % 9 == 0 else f"{RANDOM.normal():.6f}"
        lines.append(f"{a},{RANDOM.normal() * 100:.3f},{'xyz'[i % 3]},s{i % 20},{1 + i % 4},{i / 7:.3f},{'uv'[i % 2]}")
    return "\n".join(lines).encode()


CASES: dict[str, tuple[dict[str, Any], Callable[[], bytes], str]] = {
    "images": (changed(**CNN), npz, "npz"),
    "replicas": (changed(**CNN, replicas=3), npz, "npz"),
    "vectors by columns": (changed(data={"target": "y"}), columns_first, "npz"),
    "table": (changed(**TABLE), csv, "csv"),
    "regression": (changed(**REGRESSION), csv, "csv"),
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have little data go the way of much: many frames, many windows, nothing held."""
    monkeypatch.setattr(source, "FRAME_BYTES", 2000)
    monkeypatch.setattr(reading, "FRAME_BYTES", 2000)
    monkeypatch.setattr(reading, "HELD_BYTES", 0)
    monkeypatch.setattr(rows, "WINDOW_BYTES", 1500)
    for name in ("WINDOW_BYTES", "BESIDE_A_ROW"):
        monkeypatch.setattr(f"service.memory.{name}", 0)


@pytest.fixture
def streaming(settings: Settings, tmp_path: Path) -> Settings:
    """Settings by which no data set fits into memory."""
    return settings.model_copy(update={"max_data_bytes": 1, "cache": tmp_path / "cache"})


def story(store: Store, job_id: str) -> dict[str, Any]:
    with store.read() as session:
        job = jobs.get(session, job_id)
        assert job.status == "succeeded", job.error_message
        return events.last(session, job_id, "training") or {}


@pytest.mark.parametrize("name", CASES)
def test_a_run_that_streams_ends_with_the_bits_of_one_in_memory(
    name: str, sqlite_store: Store, settings: Settings, streaming: Settings, tmp_path: Path
) -> None:
    spec, content, kind = CASES[name]
    dataset = put(sqlite_store, tmp_path / "data", content(), kind)
    ids = {}
    for where, chosen in (("memory", settings), ("written", streaming), ("found", streaming)):
        ids[where] = queue(sqlite_store, dataset, spec)
        attempt(sqlite_store, chosen, ids[where])
        told = story(sqlite_store, ids[where])
        assert told["data"] == where, told
    assert outcome(sqlite_store, ids["written"]) == outcome(sqlite_store, ids["memory"])
    assert outcome(sqlite_store, ids["found"]) == outcome(sqlite_store, ids["memory"])


def test_bytes_of_images_are_bytes_on_the_disk(sqlite_store: Store, streaming: Settings, tmp_path: Path) -> None:
    spec, content, kind = CASES["images"]
    dataset = put(sqlite_store, tmp_path / "data", content(), kind)
    attempt(sqlite_store, streaming, job_id := queue(sqlite_store, dataset, spec))
    (file,) = streaming.cache_folder.glob("*.rows")
    pixels = COUNT * 6 * 6 * 3
    assert story(sqlite_store, job_id)["data_bytes"] == pixels + COUNT * 8
    assert pixels < file.stat().st_size < pixels + COUNT * 16 + 6 * 4096


@pytest.mark.parametrize("step", [1, 7, 20])
def test_a_disturbed_run_that_streams_ends_with_the_same_bits(
    step: int, sqlite_store: Store, settings: Settings, streaming: Settings, tmp_path: Path, at_step: AtStep
) -> None:
    spec, content, kind = CASES["images"]
    dataset = put(sqlite_store, tmp_path / "data", content(), kind)
    whole, broken = queue(sqlite_store, dataset, spec), queue(sqlite_store, dataset, spec)
    attempt(sqlite_store, settings, whole)
    at_step(step, draining.drain)
    assert attempt(sqlite_store, streaming, broken).status == "queued"
    draining.resume()
    at_step(-1, draining.drain)
    attempt(sqlite_store, streaming, broken)
    assert outcome(sqlite_store, broken) == outcome(sqlite_store, whole)


def test_a_wish_is_heard_while_data_are_written(
    sqlite_store: Store, streaming: Settings, wine: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = reading.read_batches

    def drained(*arguments: Any) -> Any:
        draining.drain()
        return original(*arguments)

    monkeypatch.setattr(reading, "read_batches", drained)
    job_id = queue(sqlite_store, wine, changed())
    assert attempt(sqlite_store, streaming, job_id).status == "queued"
    assert not list(streaming.cache_folder.glob("*.rows")) and not list(streaming.cache_folder.glob("*.part"))
    monkeypatch.undo()
    draining.resume()
    assert attempt(sqlite_store, streaming, job_id).status == "succeeded"


def test_a_cache_without_room_fails_the_job_with_the_reason(
    sqlite_store: Store, streaming: Settings, wine: Dataset
) -> None:
    job_id = queue(sqlite_store, wine, changed())
    job = attempt(sqlite_store, streaming.model_copy(update={"cache_bytes": 100}), job_id)
    assert (job.status, job.error_code) == ("failed", "cache_failed")
    assert "TRAINYARD_CACHE_BYTES" in str(job.error_message)


def test_a_damaged_file_is_made_anew(sqlite_store: Store, streaming: Settings, wine: Dataset) -> None:
    first, second = queue(sqlite_store, wine, changed()), queue(sqlite_store, wine, changed())
    attempt(sqlite_store, streaming, first)
    (file,) = streaming.cache_folder.glob("*.rows")
    data = bytearray(file.read_bytes())
    data[100] ^= 0xFF
    file.write_bytes(data)
    attempt(sqlite_store, streaming, second)
    assert story(sqlite_store, second)["data"] == "written"
    assert outcome(sqlite_store, second) == outcome(sqlite_store, first)


def test_pretraining_needs_all_rows_and_is_not_streamed(
    sqlite_store: Store, streaming: Settings, wine: Dataset
) -> None:
    layers = [{"type": "dense", "units": 8, "activation": "sigmoid"}, {"type": "dense", "units": "auto"}]
    spec = changed(network={"layers": layers}, pretrain={"type": "rbm", "epochs": 1})
    attempt(sqlite_store, streaming, job_id := queue(sqlite_store, wine, spec))
    assert story(sqlite_store, job_id)["data"] == "memory"


@pytest.mark.parametrize(
    ("sections", "same"),
    [
        ({"optimizer": "sgd"}, True),
        ({"training": {"epochs": 1}}, True),
        ({"data": {"augmentation": [{"type": "random_noise", "std": 0.1}]}}, True),
        ({"training": {"seed": 1}}, False),
        ({"training": {"seed": 1}, "data": {"split": {"seed": 0, "validation": 0.2, "test": 0.2}}}, False),
        ({"data": {"preprocessing": "min_max"}}, False),
        ({"data": {"features": ["hue"]}}, False),
        ({"loss": {"type": "cross_entropy", "class_weights": "balanced"}}, False),
    ],
    ids=str,
)
def test_jobs_share_a_file_where_all_of_its_bytes_would_be_the_same(
    sections: dict[str, Any], same: bool, sqlite_store: Store, wine: Dataset
) -> None:
    def key(spec: dict[str, Any]) -> str:
        from_json = reading.JobSpec.model_validate({**spec, "data": {**spec["data"], "dataset": wine.id}})
        return key_of(wine, used_columns(from_json.data, columns_of(wine)), from_json)

    assert (key(changed(**sections)) == key(changed())) is same
