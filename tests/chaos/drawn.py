"""Specifications drawn at random from everything that has a state of its own to resume."""

import random
from typing import Any

from tests.worker.runs import changed

OPTIMIZERS: list[Any] = [
    "adam", "adamw", "nadam", "adamax", "rmsprop", "adagrad", "adadelta", "lion", "amsgrad",
    {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9, "nesterov": True},
]  # fmt: skip
SCHEDULES: list[Any] = [
    "constant", {"type": "cosine", "warmup_epochs": 1}, {"type": "step", "every_epochs": 2}, "one_cycle",
    {"type": "reduce_on_plateau", "patience": 1}, {"type": "simulated_annealing", "temperature": 0.001},
]  # fmt: skip
LAYERS: list[Any] = [
    "batch_norm", "layer_norm", {"type": "dropout", "rate": 0.3}, {"type": "gaussian_noise", "std": 0.1},
    {"type": "activation", "activation": {"type": "rrelu"}}, {"type": "alpha_dropout", "rate": 0.1},
]  # fmt: skip
AVERAGING: list[Any] = [None, None, {"type": "ema", "decay": 0.9}, {"type": "swa", "start": 0.3}]
CADENCES: list[Any] = [{"checkpoint_seconds": 0.2}, {"checkpoint_steps": 7}, {"checkpoint_seconds": 0.0}, {}]
REGULARIZATIONS: list[Any] = [
    {}, {"early_stopping": {"patience": 8}}, {"l2": 1e-4, "clip_norm": 1.0}, {"mixing": "mixup"}, {"max_norm": 2.0},
]  # fmt: skip


def drawn(draw: random.Random, epochs: int) -> dict[str, Any]:
    """Return a specification of about `epochs` epochs of 7 steps."""
    layers: list[Any] = [{"type": "dense", "units": 16}, *draw.sample(LAYERS, 2), {"type": "dense", "units": 8}]
    return changed(
        network={"activation": "relu", "layers": [*layers, draw.choice(LAYERS), {"type": "dense", "units": "auto"}]},
        optimizer=draw.choice(OPTIMIZERS),
        schedule=draw.choice(SCHEDULES),
        regularization=draw.choice(REGULARIZATIONS),
        training={
            "epochs": draw.randrange(epochs // 2, 3 * epochs // 2),
            "batch_size": draw.choice([8, 16, 30]),
            "accumulate": draw.choice([1, 1, 2]),
            "averaging": draw.choice(AVERAGING),
            "seed": draw.randrange(1 << 31),
            "log_every_steps": draw.choice([None, 5]),
            **draw.choice(CADENCES),
        },
    )
