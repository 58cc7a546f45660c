"""What the service costs: a job through HTTP, SQL, Celery, metrics and checkpoints, beside training alone, in turns.

    python benchmarks/overhead.py [--pairs 3] [--seconds 60]

"bare" is the same specification on the same rows in this process: the file is read, the network built, trained and
validated, the test rows measured and the model calibrated, by the code that a job runs, with nothing stored and nobody
asked. "service" is from before `POST /v1/jobs` until the job has succeeded, in a stack of its own (`trainyard up`) that
is asked for the job four times a second, as `trainyard watch` does. Small steps of a small network: those of which
everything else takes the largest share. The ratio is that of the medians: of seconds, and of the processor's time that
the process takes which trains, where other work keeps the machine busy. What all others of the stack take is beside it.
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from training import seconds
from training_idle import Alone, Silent

from service.blocks.schedules import Horizon
from service.client import Client
from service.data.formats import Limits, profile_file, read_frame
from service.network import build_network, materialize
from service.settings import Settings
from service.spec import JobSpec
from service.stack import temporary_stack
from service.summary import summarize
from service.uncertainty.monte_carlo import MonteCarlo
from worker.data import TrainingData, prepare
from worker.device import use_threads
from worker.training.batches import Batches
from worker.training.calibrate import calibration_of
from worker.training.loop import Loop
from worker.training.step import Step

ROWS, FEATURES, CLASSES = 20_000, 64, 10
DATASET = "ds_" + "0" * 26
CALIBRATION_EPOCHS = 20


class Cost(NamedTuple):
    """What a run takes: seconds on the clock, and of processors by what trains and by all else."""

    wall: float
    trainer: float
    others: float = 0.0

    def __str__(self) -> str:
        return f"{self.wall:6.2f} s, processors {self.trainer:6.2f} + {self.others:.2f} s"


def processor_seconds() -> dict[int, float]:
    """Return what each of the processes that this one has started, or they, took of processors so far."""
    stats = [_stat(folder) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    parent = {pid: above for pid, above, _ in stats}
    return {pid: spent for pid, _, spent in stats if _descends(pid, parent)}


def _stat(folder: Path) -> tuple[int, int, float]:
    """Return the number of a process, that of its parent, and the processor seconds it took; 0 of one that ended."""
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return int(folder.name), 0, 0.0
    return int(folder.name), int(fields[1]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _descends(pid: int, parent: dict[int, int]) -> bool:
    while (pid := parent.get(pid, 0)) > 0:
        if pid == os.getpid():
            return True
    return False


def specification(epochs: int, dataset: str = DATASET) -> dict[str, Any]:
    """Return a job with dropout, metrics, early stopping that never stops, and batches of 32."""
    hidden = [{"type": "dense", "units": 128, "activation": "relu"}, {"type": "dropout", "rate": 0.2}]
    return {
        "network": {"layers": [*hidden, *hidden, {"type": "dense", "units": "auto"}]},
        "loss": "cross_entropy",
        "regularization": {"early_stopping": {"patience": 1_000_000}},
        "data": {"dataset": dataset, "target": "y", "split": {"validation": 0.1, "test": 0.1}},
        "training": {"epochs": epochs, "batch_size": 32, "log_every_steps": 100},
        "metrics": ["accuracy", "f1"],
    }


def rows() -> bytes:
    """Return rows of noise as an NPZ."""
    draw, file = np.random.default_rng(0), io.BytesIO()
    np.savez(file, x=draw.normal(size=(ROWS, FEATURES)).astype(np.float32), y=np.arange(ROWS) % CLASSES)
    return file.getvalue()


def read(path: Path, spec: JobSpec) -> TrainingData:
    """Return the rows as a worker reads them."""
    columns = profile_file(path, "npz", Limits.of(Settings())).columns
    return prepare(read_frame(path, "npz", columns), columns, spec)


def bare(path: Path, epochs: int) -> None:
    """Train as a job does, and store nothing."""
    spec, settings = JobSpec.model_validate(specification(epochs)), Settings()
    data = read(path, spec)
    network = build_network(spec.network, spec.regularization, data.input_shape, data.outputs)
    batches = Batches(data, spec.training, network.has_batch_norm)
    use_threads(summarize(network).multiply_adds * batches.rows_of_batch, settings.threads_of_a_job)
    network, lease = materialize(network, spec.training.seed), Alone()
    horizon = Horizon(batches.steps, batches.steps * epochs)
    step = Step(network, spec, torch.device("cpu"), horizon, batches.rows_of_batch)
    recorder = Silent(lease, epochs, horizon.total_steps)  # type: ignore[arg-type]
    loop = Loop(spec, network, data, batches, step, lease, recorder, None)  # type: ignore[arg-type]
    loop.run(lambda _: None)
    loop.restore_best()
    loop.measure("test")
    loop.engine.end()
    calibration_of(MonteCarlo(network), spec, data, settings.predict_tile_bytes, lambda: None)


def served(client: Client, spec: dict[str, Any]) -> tuple[float, dict[str, float]]:
    """Return the seconds from the request to the end of the job, and where it says that they went."""
    began = time.time()
    job = client.wait(client.submit(spec).id)
    assert job.status == "succeeded", job.error
    ended = client.request("GET", f"/v1/jobs/{job.id}")["finished_at"]
    return np.datetime64(ended.rstrip("Z"), "us").astype(float) / 1e6 - began, job.timings or {}


def measure(pairs: int, wanted: float) -> None:
    """Run both in turns and print what they took."""
    with tempfile.TemporaryDirectory() as folder, temporary_stack() as (url, _), Client(url) as client:
        path = Path(folder) / "rows.npz"
        path.write_bytes(rows())
        dataset = client.upload(path)["id"]
        bare(path, 1)  # steps are written down, caches filled
        # What a run takes besides its epochs is as much as some of them.
        beside = seconds(lambda: bare(path, 1))
        more = seconds(lambda: bare(path, 1 + CALIBRATION_EPOCHS)) - beside
        epochs = max(1, round(wanted * CALIBRATION_EPOCHS / more))
        served(client, specification(1, dataset))
        alone: list[Cost] = []
        through: list[Cost] = []
        for _ in range(pairs):
            cpu = time.process_time()
            alone.append(Cost(seconds(lambda: bare(path, epochs)), time.process_time() - cpu))
            before = processor_seconds()
            taken, timings = served(client, specification(epochs, dataset))
            spent = sorted(now - before.get(pid, 0.0) for pid, now in processor_seconds().items())
            through.append(Cost(taken, spent[-1], sum(spent[:-1])))
            print(f"  bare {alone[-1]}   service {through[-1]}   {json.dumps(timings)}", flush=True)
    print(f"{epochs} epochs, medians of {pairs}; less than 5 % wanted")
    for name in ("wall", "trainer"):
        own, theirs = (statistics.median(getattr(cost, name) for cost in costs) for costs in (alone, through))
        print(f"  {name:8} {100 * (theirs / own - 1):+.1f} % ({theirs / own:.3f} times)")


def main() -> None:
    """Measure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pairs", type=int, default=3, help="runs of each")
    options.add_argument("--seconds", type=float, default=60.0, help="about how long one takes")
    chosen: Any = options.parse_args()
    measure(chosen.pairs, chosen.seconds)


if __name__ == "__main__":
    main()
