"""How much memory training really takes, beside the estimate by which jobs are let in.

    python benchmarks/memory.py

Each network trains three steps in a process of its own, and the most that the process held, less what it held
before, is set beside the estimate for weights, gradients, the optimizer's state and one batch. A ratio above 1
says that training took more than was thought.
"""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from service.blocks.noise import StepNoise, set_noise
from service.memory import MIB, NetworkSize, training_memory
from service.network import build_network, materialize
from service.spec import JobSpec

PAGE = 4096
OUT = {"type": "dense", "units": "auto"}
DATA = {"dataset": "ds_" + "0" * 26, "target": "y"}


@dataclass(frozen=True)
class Case:
    """A network, the shape of its rows and how many are in a batch."""

    layers: list[Any]
    shape: tuple[int, ...]
    rows: int


def relu(kind: str, **fields: Any) -> dict[str, Any]:
    """Return a layer with ReLU."""
    return {"type": kind, "activation": "relu", **fields}


CASES = {
    "mlp 784-2048-2048-10, dropout": Case(
        [relu("dense", units=2048), {"type": "dropout", "rate": 0.5}, relu("dense", units=2048), OUT], (784,), 4096
    ),
    "cnn 32-64, batch norm": Case(
        [
            relu("conv2d", filters=32, kernel_size=3, padding="same"),
            "batch_norm",
            relu("conv2d", filters=64, kernel_size=3, padding="same"),
            "max_pool2d",
            "flatten",
            relu("dense", units=128),
            OUT,
        ],
        (1, 28, 28),
        1024,
    ),
    "lstm 128-128 over 50 places": Case(
        [{"type": "lstm", "units": 128, "return_sequences": True}, {"type": "lstm", "units": 128}, OUT], (50, 16), 1024
    ),
    "attention, 4 heads over 128 places": Case(
        [{"type": "multi_head_attention", "heads": 4}, "global_average_pool", OUT], (128, 64), 512
    ),
}


def held() -> int:
    """Return the bytes that this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def measure(case: Case) -> tuple[int, int]:
    """Return the estimate and what was measured, in bytes."""
    torch.set_num_threads(2)
    spec = JobSpec.model_validate(
        {"network": {"layers": case.layers}, "loss": "cross_entropy", "optimizer": "adam", "data": DATA}
    )
    network = build_network(spec.network, spec.regularization, case.shape, 10)
    estimate = training_memory(NetworkSize.of(network, spec.training.precision), spec)
    network = materialize(network, 0)
    optimizer = spec.optimizer.build(list(network.parameters()))
    x, y = torch.randn(case.rows, *case.shape), torch.zeros(case.rows, dtype=torch.long)
    network(x[:2]).sum().backward()
    optimizer.zero_grad()
    before, most, done = held(), [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            most[0] = max(most[0], held())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    network.train()
    set_noise(network, StepNoise(0, 0, torch.device("cpu")))
    for _ in range(3):
        optimizer.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(network(x), y))
        optimizer.step()
    done.set()
    watcher.join()
    # The weights were there before, and nobody stored a checkpoint.
    expected = estimate.row_bytes * case.rows + 3 * estimate.weights_bytes
    return expected, most[0] - before


def main() -> None:
    """Print a table, or measure the one case that is named."""
    if len(sys.argv) > 1:
        print(*measure(CASES[sys.argv[1]]))
        return
    print(f"{'network':38}{'estimate':>12}{'measured':>12}{'ratio':>8}")
    for name in CASES:
        out = subprocess.run([sys.executable, __file__, name], check=True, capture_output=True, text=True).stdout
        estimate, found = map(int, out.split())
        print(f"{name:38}{estimate / MIB:>8.0f} MiB{found / MIB:>8.0f} MiB{found / estimate:>8.2f}")


if __name__ == "__main__":
    main()
