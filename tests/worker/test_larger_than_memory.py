"""A data set several times as large as the memory that training it takes: a real process, and what it really holds."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.data.formats import Limits, profile_file
from service.settings import Settings
from service.store import datasets
from service.store.blobs import write_blob
from service.store.engine import Store
from service.store.tables import Dataset
from tests.worker.runs import changed, outcome, queue

MIB = 1 << 20
SIDE, CHANNELS, COUNT = 32, 3, 80_000
DATA_BYTES = COUNT * SIDE * SIDE * CHANNELS
"""About 240 MiB."""
RISE = 75 * MIB
"""What a job on them may add to the memory of a process that has trained before."""
SPEC: dict[str, Any] = changed(
    network={"layers": ["flatten", {"type": "dense", "units": 16}, {"type": "dense", "units": "auto"}]},
    data={"target": "y", "preprocessing": "standardize", "split": {"validation": 0.2, "test": 0.1}},
    training={"epochs": 1, "batch_size": 128, "log_every_steps": None},
)  # fmt: skip

RUN = """
import sys, threading, time
from pathlib import Path
from service.settings import Settings
from service.store import jobs
from service.store.engine import open_store
from worker.training.attempt import run_attempt

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024

def watch():
    while True:
        most[0] = max(most[0], held())
        time.sleep(0.005)

settings = Settings(database_url=sys.argv[1], cache=sys.argv[2], max_data_bytes=int(sys.argv[3]))
store, rises, most = open_store(sys.argv[1]), [], [0]
threading.Thread(target=watch, daemon=True).start()
for _ in range(2):
    with store.begin() as session:
        job = jobs.claim(session, "here", 300)
    most[0] = before = held()
    run_attempt(store, settings, job)
    rises.append(most[0] - before)
print(rises[-1])
"""


def put_file(store: Store, path: Path, kind: str) -> Dataset:
    """Store a file without holding it."""
    profile = profile_file(path, kind, Limits.of(Settings()))
    with path.open("rb") as file:
        blob = write_blob(store, iter(lambda: file.read(MIB), b""))
    columns = [column.model_dump(mode="json") for column in profile.columns]
    with store.begin() as session:
        return datasets.insert(
            session, name="t", format=kind, sha256=blob.sha256, size=blob.size, rows=profile.rows, columns=columns
        )


def images(path: Path, count: int) -> Path:
    y = np.arange(count) % 4
    x = np.random.default_rng(0).integers(0, 128, (count, SIDE, SIDE, CHANNELS), np.uint8)
    x += (y * 30).astype(np.uint8)[:, None, None, None]
    np.savez(path, x=x, y=y)
    return path


def rise(store_url: str, cache: Path, limit: int) -> int:
    """Run the two jobs that wait, and return by how much the second raised the memory of the process at its peak."""
    command = [sys.executable, "-c", RUN, store_url, str(cache), str(limit)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what a process holds from /proc")
def test_a_data_set_is_trained_in_a_fraction_of_its_size(
    sqlite_store: Store, settings: Settings, wine: Dataset, tmp_path: Path
) -> None:
    dataset = put_file(sqlite_store, images(tmp_path / "images.npz", COUNT), "npz")
    found = {}
    for place, limit in (("streamed", 16 * MIB), ("memory", 1 << 40)):
        queue(sqlite_store, wine, changed(training={"epochs": 1}))
        job_id = queue(sqlite_store, dataset, SPEC)
        found[place] = rise(settings.effective_database_url, tmp_path / "cache", limit), outcome(sqlite_store, job_id)
    (streamed, same), (memory, expected) = found["streamed"], found["memory"]
    assert same == expected
    assert streamed < RISE < DATA_BYTES / 3
    assert DATA_BYTES < memory < 1.5 * DATA_BYTES, "in memory there is one copy of the data, and little besides"
