"""Training: the service's engine beside loops that people write and libraries that they use, in turns.

    python -m benchmarks.training [--pairs 5] [--threads 2]

"ours" is what a job runs, `worker/training/loop.py` with everything that it does on the way (looking for wishes,
adding up metrics, watching for losses that are not finite), without SQL; its recordings are forgotten before every
run, so that making them is part of it. The peers measure nothing but the loss. All train the same network on the same
rows for the same number of steps. PyTorch's loop runs with one thread and with all, and counts as the faster of the
two. A pair is one run of ours and one of a peer right after each other; a ratio is the median over the pairs, so that
whatever else the machine does falls on both.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

import torch

from benchmarks.training_cases import CASES, Case, data_of, products, specification
from benchmarks.training_peers import Train, keras_fit, lightning_fit, torch_loop
from service.blocks.schedules import Horizon
from service.network import build_network, materialize
from service.summary import summarize
from worker.data import TrainingData
from worker.device import use_threads
from worker.lease import Lease
from worker.training import recorded
from worker.training.batches import Batches
from worker.training.loop import Loop
from worker.training.recorder import Recorder
from worker.training.step import Step


class Alone:
    """A lease of nothing: nobody wishes anything."""

    job_id, wish = "", None

    def at_step(self) -> None:
        """Nobody looks."""


class Silent(Recorder):
    """Keeps measured values to itself."""

    def due(self) -> bool:
        """Never: there is nowhere to write to."""
        return False


def ours(case: Case, data: TrainingData, threads: int) -> Train:
    """Return what trains as a job does, from fresh weights."""
    spec, lease = specification(case), cast(Lease, Alone())
    bare = build_network(spec.network, spec.regularization, data.input_shape, data.outputs)
    work = summarize(bare).multiply_adds * case.batch

    def train() -> None:
        recorded.forget()
        use_threads(work, threads)
        network = build_network(spec.network, spec.regularization, data.input_shape, data.outputs)
        batches = Batches(data, spec.training, network.has_batch_norm)
        horizon = Horizon(batches.steps, batches.steps * case.epochs)
        network = materialize(network, 0)
        step = Step(network, spec, torch.device("cpu"), horizon, case.batch)
        recorder = Silent(lease, case.epochs, horizon.total_steps)
        Loop(spec, network, data, batches, step, lease, recorder, spec.metrics, None).run(lambda _: None)

    return train


def with_threads(count: int, run: Train) -> Train:
    """Return the same with so many threads."""

    def threaded() -> None:
        torch.set_num_threads(count)
        run()

    return threaded


def seconds(run: Callable[[], object]) -> float:
    """Return how long a run takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def contestants(case: Case, data: TrainingData, threads: int) -> dict[str, Train]:
    """Return the peers that are installed, by name."""
    x, y = data.x, data.y
    found: dict[str, Train | None] = {
        "PyTorch, 1 thread": with_threads(1, torch_loop(case, x, y)),
        f"PyTorch, {threads} threads": with_threads(threads, torch_loop(case, x, y)),
        "Keras": keras_fit(case, x, y),
        "Lightning": None,
    }
    lightning = lightning_fit(case, x, y)
    found["Lightning"] = None if lightning is None else with_threads(threads, lightning)
    return {name: run for name, run in found.items() if run is not None}


def measure(case: Case, pairs: int, threads: int) -> None:
    """Measure a case and print it."""
    data = data_of(case)
    mine, peers = ours(case, data, threads), contestants(case, data, threads)
    for run in (mine, *peers.values()):
        run()
    own: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    ratios: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(pairs):
        for name, run in peers.items():
            taken, peer = seconds(mine), seconds(run)
            own.append(taken)
            theirs[name].append(peer)
            ratios[name].append(peer / taken)
    rows = len(data.x) * case.epochs
    print(f"\n{case.name}, batch {case.batch}", flush=True)
    line(rows, "ours", own, None)
    for name in peers:
        line(rows, name, theirs[name], statistics.median(ratios[name]))
    if case.name.startswith("MLP"):
        torch.set_num_threads(1)
        floor = products(case)
        each = statistics.median(seconds(floor) for _ in range(1000))
        line(case.batch, "matrix products alone", [each], each * rows / case.batch / statistics.median(own))
    fastest = min(statistics.median(r) for name, r in ratios.items() if name.startswith("PyTorch"))
    verdict = "reached" if fastest >= case.target else "MISSED"
    print(f"  {fastest:.2f} times the PyTorch loop; {case.target:g} wanted: {verdict}", flush=True)


def line(rows: int, name: str, taken: list[float], ratio: float | None) -> None:
    """Print the median speed of a contestant, and how many times as fast ours is."""
    speed = rows / statistics.median(taken) / 1000
    print(f"  {name:24}{speed:9.1f} thousand samples/s" + (f"{ratio:9.2f}x" if ratio else ""), flush=True)


def main() -> None:
    """Measure every case."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pairs", type=int, default=5, help="pairs behind each median")
    options.add_argument("--threads", type=int, default=2, help="processor threads, for all alike")
    options.add_argument("--case", default="", help="only cases whose name contains this")
    chosen: Any = options.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print(f"torch {torch.__version__}, {chosen.threads} thread(s), medians of {chosen.pairs} pairs")
    for case in CASES:
        if chosen.case in case.name:
            measure(case, chosen.pairs, chosen.threads)


if __name__ == "__main__":
    main()
