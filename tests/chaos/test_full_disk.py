"""A disk that is full while a checkpoint is written: the run waits for room, and what is stored stays whole."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.calm import Calm
from tests.chaos.conftest import Sqlite
from tests.chaos.fleet import Fleet, until
from tests.worker.runs import changed, outcome

SIZE, PAGE = 96 * 2**20, 4096
LAYERS = [{"type": "dense", "units": 400}, {"type": "dense", "units": 400}, {"type": "dense", "units": "auto"}]
SPEC = changed(network={"layers": LAYERS, "activation": "relu"}, training={"epochs": 60, "checkpoint_steps": 40})


@pytest.fixture(scope="module")
def small_disk(home: Path) -> Iterator[Path]:
    """A file system of its own."""
    folder = home / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def fleet(home: Path, small_disk: Path, sqlite_template: Path) -> Iterator[Fleet]:
    """A server and a worker whose database is on it; they log elsewhere."""
    shutil.copy(sqlite_template, small_disk / "trainyard.db")
    fleet = Fleet(home, Sqlite(f"sqlite:///{small_disk / 'trainyard.db'}"), workers=1)
    yield fleet
    fleet.close()


def test_a_run_waits_for_room(fleet: Fleet, small_disk: Path, calm: Calm, wine_csv: bytes) -> None:
    dataset = fleet.upload(wine_csv)
    job_id = fleet.submit({**SPEC, "data": {**SPEC["data"], "dataset": dataset}})
    fleet.running(job_id)
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    until(lambda: "waits, the database does not answer" in (fleet.home / "worker.log").read_text(), "it does not wait")
    refused = fleet.client.post("/v1/datasets", content=wine_csv * 100, headers={"Content-Type": "text/csv"})
    assert refused.status_code == 503, refused.text
    assert fleet.client.get(f"/v1/jobs/{job_id}").status_code == 200
    ballast.unlink()

    job = fleet.ended(job_id)
    assert job.status == "succeeded", job.error_message
    assert outcome(fleet.store, job_id) == calm.outcome(SPEC)
