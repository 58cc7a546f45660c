"""Many small networks trained together, beside the same networks trained one after the other.

    python benchmarks/training_packed.py [--jobs 64] [--pairs 5] [--threads 1] [--dropout]

Both are the service's own engine: what a job with `"replicas": 64` runs, and what 64 jobs run, without SQL. The first
run of each is not counted: in it steps are written down.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from training_cases import DROPOUT, OUT, Case, data_of, dense, specification, torch_mlp
from training_idle import Alone, Silent

from service.blocks.schedules import Horizon
from service.network import build_network, materialize
from worker.data import TrainingData
from worker.device import use_threads
from worker.lease import Lease
from worker.packed.batches import PackedBatches
from worker.packed.loop import PackedLoop
from worker.packed.step import Together
from worker.packed.variants import Variants, replicas_of
from worker.training.batches import Batches
from worker.training.loop import Loop
from worker.training.step import Step

WANTED = 8.0
CPU = torch.device("cpu")


def case_of(dropout: bool) -> Case:
    """Return the network 16-32-32-10 with batches of 32."""
    layers = [dense(32), DROPOUT, dense(32), DROPOUT, OUT] if dropout else [dense(32), dense(32), OUT]
    return Case("16-32-32-10" + (", dropout 0.2" if dropout else ""), layers, torch_mlp, (16,), 32, 3200, 2, WANTED)


def one_after_the_other(case: Case, data: TrainingData, jobs: int) -> None:
    """Train the networks as so many jobs do."""
    spec, lease = specification(case), cast(Lease, Alone())
    for variant in replicas_of(spec, data, jobs):
        own = variant.spec
        network = build_network(own.network, own.regularization, data.input_shape, data.outputs)
        batches = Batches(data, own.training, network.has_batch_norm)
        horizon = Horizon(batches.steps, batches.steps * case.epochs)
        step = Step(materialize(network, variant.seed), own, CPU, horizon, case.batch)
        recorder = Silent(lease, case.epochs, horizon.total_steps)
        Loop(own, step.network, data, batches, step, lease, recorder, None).run(lambda _: None)


def together(case: Case, data: TrainingData, jobs: int) -> None:
    """Train the networks as one job with replicas does."""
    variants, lease = replicas_of(specification(case), data, jobs), cast(Lease, Alone())
    steps = PackedBatches(variants, has_batch_norm=False).steps
    horizon = Horizon(steps, steps * case.epochs)

    def build(stacked: Variants) -> Together:
        return Together(stacked, lambda network: None, CPU, horizon, case.batch)

    PackedLoop(variants, build, lease, Silent(lease, case.epochs, horizon.total_steps), None).run(lambda _: None)


def seconds(run: Callable[[], object]) -> float:
    """Return how long a run takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def measure(case: Case, jobs: int, pairs: int) -> float:
    """Measure and print both ways; return how many times as many samples a second the networks take together."""
    data = data_of(case)
    ratios, ours, theirs = [], [], []
    for turn in range(pairs + 1):
        own = seconds(partial(together, case, data, jobs))
        other = seconds(partial(one_after_the_other, case, data, jobs))
        if turn:  # the first turn warms up
            ours.append(own)
            theirs.append(other)
            ratios.append(other / own)
    rows, ratio = len(data.train) * case.epochs * jobs, statistics.median(ratios)
    print(f"\n{jobs} networks {case.name}, batch {case.batch}")
    for name, taken in (("together", ours), ("one after the other", theirs)):
        print(f"  {name:24}{rows / statistics.median(taken) / 1000:9.1f} thousand samples/s")
    verdict = "reached" if ratio >= case.target else "missed"
    print(f"  {ratio:.2f} times as fast together; {case.target:g} wanted: {verdict}", flush=True)
    return ratio


def main() -> None:
    """Measure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jobs", type=int, default=64, help="networks")
    options.add_argument("--pairs", type=int, default=5, help="pairs behind each median")
    options.add_argument("--threads", type=int, default=1, help="processor threads")
    options.add_argument("--dropout", action="store_true", help="with dropout")
    chosen: Any = options.parse_args()
    use_threads(0, chosen.threads)
    torch.set_num_threads(chosen.threads)
    measure(case_of(chosen.dropout), chosen.jobs, chosen.pairs)


if __name__ == "__main__":
    main()
