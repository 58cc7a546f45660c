"""Monte-Carlo dropout: the service's sampler beside the loop anybody would write, and beside one big batch.

    python benchmarks/monte_carlo.py [--pairs 15] [--threads 1]

Peers, on the same weights: "loop" runs torch's own modules T times with their dropout switched on; "batch" runs
them once on T copies of the rows. Every figure is the median of runs taken in turns, so that whatever else the
machine does falls on all alike. "new seed" draws its masks; "same seed" finds them drawn, as requests that leave
the seed at its default do. Before anything is timed, the spreads are compared: all must sample the same thing.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from service.network import Network, build_network, materialize
from service.randomness import generator
from service.settings import Settings
from service.spec import NetworkSpec, RegularizationSpec
from service.uncertainty.monte_carlo import MonteCarlo

DROPOUT = {"type": "dropout", "rate": 0.2}
OUT = {"type": "dense", "units": "auto"}
TILE_BYTES = Settings.model_fields["predict_tile_bytes"].default
CHECKED = 4000
"""Samples behind the comparison of the spreads."""


def dense(units: int) -> dict[str, Any]:
    """Return a dense layer with ReLU."""
    return {"type": "dense", "units": units, "activation": "relu"}


def conv(filters: int) -> dict[str, Any]:
    """Return a convolution with ReLU."""
    return {"type": "conv2d", "filters": filters, "kernel_size": 3, "activation": "relu"}


MLP = [dense(128), DROPOUT, dense(128), DROPOUT, OUT]
LATE = [dense(1024), dense(1024), dense(128), DROPOUT, OUT]
CNN = [
    conv(32),
    "batch_norm",
    "max_pool2d",
    DROPOUT,
    conv(64),
    "max_pool2d",
    DROPOUT,
    "flatten",
    dense(128),
    DROPOUT,
    OUT,
]


@dataclass(frozen=True)
class Case:
    """A network, and a request to it."""

    name: str
    layers: list[Any]
    shape: tuple[int, ...]
    rows: int
    samples: int


CASES = (
    Case("MLP 64-128-128-10, dropout 0.2", MLP, (64,), 1, 100),
    Case("MLP 64-128-128-10, dropout 0.2", MLP, (64,), 256, 100),
    Case("MLP 64-128-128-10, dropout 0.2", MLP, (64,), 1000, 100),
    Case("MLP 64-1024-1024-128-10, dropout at the end", LATE, (64,), 1, 100),
    Case("CNN 28x28, two convolutions, three dropouts", CNN, (1, 28, 28), 1, 50),
    Case("CNN 28x28, two convolutions, three dropouts", CNN, (1, 28, 28), 32, 10),
)


def build(case: Case) -> Network:
    """Return the case's network with weights."""
    spec = NetworkSpec.model_validate({"layers": case.layers})
    return materialize(build_network(spec, RegularizationSpec(), case.shape, 10), 0).eval()


def as_torch(network: Network) -> nn.Sequential:
    """Return the same network of torch's own modules, its dropout switched on."""
    peer = nn.Sequential()
    for name, module in network.layers.items():
        rate = getattr(module, "rate", None)
        peer.add_module(name, nn.Dropout(rate).train() if rate is not None else module)
    return peer


def loop(network: nn.Module, x: Tensor, samples: int) -> Tensor:
    """Return T passes, one after the other, [T, rows, outputs]."""
    with torch.inference_mode():
        return torch.stack([network(x) for _ in range(samples)])


def batch(network: nn.Module, x: Tensor, samples: int) -> Tensor:
    """Return one pass over T copies of the rows, [T, rows, outputs]."""
    with torch.inference_mode():
        copies = x.expand(samples, *x.shape).flatten(0, 1)
        out: Tensor = network(copies)
        return out.view(samples, len(x), -1)


def compare_spreads(model: MonteCarlo, peer: nn.Module, x: Tensor) -> None:
    """See that both draw from the same distribution: means within six standard errors, spreads within 15 %.

    Raises:
        AssertionError: They do not.
    """
    ours, theirs = model.samples(x[:1], CHECKED, 0, TILE_BYTES), loop(peer, x[:1], CHECKED)
    error = (ours.var(0) + theirs.var(0)).div(CHECKED).sqrt()
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 6 * error).all(), "the means differ"
    assert (ours.std(0) / theirs.std(0) - 1).abs().max() < 0.15, "the spreads differ"


def seconds(run: Callable[[], object]) -> float:
    """Return how long one run takes, from as many as fill 20 ms."""
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < 0.02:
        run()
        count += 1
    return (time.perf_counter() - begin) / count


def measure(case: Case, pairs: int) -> dict[str, float]:
    """Return the median seconds of each contestant."""
    network = build(case)
    model, peer = MonteCarlo(network), as_torch(network)
    x = torch.randn(case.rows, *case.shape, generator=generator(0, "benchmark"))
    compare_spreads(model, peer, x)
    seeds = iter(range(1, 1 << 62))
    contestants: dict[str, Callable[[], object]] = {
        "loop": lambda: loop(peer, x, case.samples),
        "batch": lambda: batch(peer, x, case.samples),
        "new seed": lambda: model.samples(x, case.samples, next(seeds), TILE_BYTES),
        "same seed": lambda: model.samples(x, case.samples, 0, TILE_BYTES),
        "one pass": lambda: loop(network, x, 1),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(pairs + 1):
        for name, run in contestants.items():
            taken = seconds(run)
            if turn:  # the first turn warms up
                times[name].append(taken)
    return {name: statistics.median(taken) for name, taken in times.items()}


def main() -> None:
    """Measure every case and print it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pairs", type=int, default=15, help="turns behind each median")
    options.add_argument("--threads", type=int, default=1, help="processor threads, for all alike")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    print(f"torch {torch.__version__}, {chosen.threads} thread(s), medians of {chosen.pairs} turns, milliseconds\n")
    names = ("loop", "batch", "new seed", "same seed", "one pass")
    print(f"{'':46}{'rows':>5}{'T':>5}" + "".join(f"{name:>11}" for name in names) + f"{'loop / ours':>18}")
    for case in CASES:
        found = measure(case, chosen.pairs)
        figures = "".join(f"{found[name] * 1e3:>11.3f}" for name in names)
        ratios = f"{found['loop'] / found['new seed']:>9.1f}x{found['loop'] / found['same seed']:>7.1f}x"
        print(f"{case.name:46}{case.rows:>5}{case.samples:>5}{figures}{ratios:>18}", flush=True)


if __name__ == "__main__":
    main()
