"""Training: the service's engine beside loops that people write and libraries that they use, in turns.

    python benchmarks/training.py [--pairs 5] [--threads 2] [--case MLP]

"ours" is what a job runs, `worker/training/epochs.py` with everything that it does on the way (looking for wishes,
adding up metrics, watching for losses that are not finite), without SQL. The first run of each is not counted: in it
Keras compiles, and ours writes its steps down, which is timed by itself. The peers measure nothing but the loss.

All train the same network on the same rows for the same number of steps, on as many threads as a job would use of
those there are (`worker/device.py`): small steps on one, where more make every library slower. A pair is one run of
ours and one of a peer right after each other; a ratio is the median over the pairs, so that whatever else the machine
does falls on both.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, cast

import torch
import training_packed
from training_cases import CASES, Case, data_of, products, specification
from training_idle import Alone, Silent
from training_peers import Train, keras_fit, lightning_fit, torch_loop

from service.blocks.schedules import Horizon
from service.network import build_network, materialize
from service.summary import summarize
from worker.data import TrainingData
from worker.device import use_threads
from worker.lease import Lease
from worker.training import recorded
from worker.training.batches import Batches
from worker.training.loop import Loop
from worker.training.step import Step

LOOP = "PyTorch loop"


def loop_of(case: Case, data: TrainingData, threads: int, **training: object) -> Loop:
    """Return what trains as a job does, from fresh weights."""
    spec, lease = specification(case, **training), cast(Lease, Alone())
    network = build_network(spec.network, spec.regularization, data.input_shape, data.outputs)
    use_threads(summarize(network).multiply_adds * case.batch, threads)
    batches = Batches(data, spec.training, network.has_batch_norm)
    horizon = Horizon(batches.steps, batches.steps * case.epochs)
    network = materialize(network, 0)
    step = Step(network, spec, torch.device("cpu"), horizon, case.batch)
    recorder = Silent(lease, case.epochs, horizon.total_steps)
    return Loop(spec, network, data, batches, step, lease, recorder, None)


def ours(case: Case, data: TrainingData, threads: int, **training: object) -> float:
    """Return how long a run takes that begins with everything built."""
    loop = loop_of(case, data, threads, **training)
    if training.get("compile"):
        loop.engine.begin()
        for batch in loop.batches.of(0):
            loop.engine(batch, 0)
    return seconds(lambda: loop.run(lambda _: None))


def writing_seconds(case: Case, data: TrainingData, threads: int) -> float:
    """Return how much longer the first step of a network takes that this process never trained."""
    loop = loop_of(case, data, threads)
    recorded.forget()
    loop.engine.begin()
    batches = loop.batches.of(0)
    first, second = (seconds(lambda: loop.engine(next(batches), 0)) for _ in range(2))
    return first - second


def seconds(run: Callable[[], object]) -> float:
    """Return how long a run takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def contestants(case: Case, data: TrainingData) -> dict[str, Train]:
    """Return the peers that are installed, by name."""
    whole = data.rows(torch.arange(len(data.x)))
    x, y = whole.x, whole.y
    keras, lightning = keras_fit(case, x, y), lightning_fit(case, x, y)
    found = {LOOP: torch_loop(case, x, y)}
    if keras is not None:
        found[f"Keras on {keras.backend}"] = keras.train
    if lightning is not None:
        found["Lightning"] = lightning
    return found


def variants(case: Case, data: TrainingData, threads: int) -> dict[str, Train]:
    """Return ours with other settings of `training`, as contestants of ours; compiling is not timed."""
    settings: dict[str, dict[str, object]] = {
        "ours in bfloat16": {"precision": "bfloat16"},
        "ours compiled": {"compile": True},
    }
    if case.name.startswith("MLP"):  # without units for it, the others would take minutes
        settings["ours in float16"] = {"precision": "float16"}
    return {
        name: lambda training=training: ours(case, data, threads, **training)  # type: ignore[misc]
        for name, training in settings.items()
    }


def measure(case: Case, pairs: int, threads: int, of_itself: bool) -> None:
    """Measure a case beside the peers, or `of_itself` beside its own variants, and print it."""
    data = data_of(case)
    writing = writing_seconds(case, data, threads)
    peers = variants(case, data, threads) if of_itself else contestants(case, data)
    own: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    ratios: dict[str, list[float]] = {name: [] for name in peers}
    for turn in range(pairs + 1):
        for name, run in peers.items():
            taken, peer = ours(case, data, threads), seconds(run)
            if turn:  # the first turn warms up
                own.append(taken)
                theirs[name].append(peer)
                ratios[name].append(peer / taken)
    rows = len(data.x) * case.epochs
    print(f"\n{case.name}, batch {case.batch}; the steps were written down in {writing * 1e3:.0f} ms")
    line(rows, "ours", own, None)
    for name in peers:
        line(rows, name, theirs[name], statistics.median(ratios[name]))
    if case.name.startswith("MLP"):
        floor = products(case)
        each = statistics.median(seconds(floor) for _ in range(1000))
        line(case.batch, "matrix products alone", [each], each * rows / case.batch / statistics.median(own))
    if of_itself:
        return
    reached = statistics.median(ratios[LOOP])
    verdict = "reached" if reached >= case.target else "missed"
    print(f"  {reached:.2f} times the PyTorch loop; {case.target:g} wanted: {verdict}", flush=True)


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
    options.add_argument("--variants", action="store_true", help="ours in other precisions and compiled, not the peers")
    chosen: Any = options.parse_args()
    print(f"torch {torch.__version__}, {chosen.threads} thread(s), medians of {chosen.pairs} pairs")
    for library in ("keras", "lightning"):
        if find_spec(library) is None:
            print(f"{library} is not installed and left out")
    for case in CASES:
        if chosen.case in case.name:
            measure(case, chosen.pairs, chosen.threads, chosen.variants)
    if chosen.case in "64 networks":
        training_packed.measure(training_packed.case_of(dropout=False), 64, chosen.pairs)


if __name__ == "__main__":
    main()
