"""Jobs trained together, and the same jobs trained alone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from service.blocks.schedules import Horizon
from service.network import build_network, materialize
from service.spec import JobSpec
from worker.data import TrainingData
from worker.packed.batches import PackedBatches
from worker.packed.step import Together
from worker.packed.variants import Variants
from worker.training.batches import Batches
from worker.training.step import Step

CPU = torch.device("cpu")
EPOCHS = 2
Trained = tuple[dict[str, Tensor], Tensor]
"""Weights by name, and the losses of every step."""


def untouched(_: object) -> None:
    """Start from chance alone."""


def alone(spec: JobSpec, data: TrainingData, epochs: int = EPOCHS) -> Trained:
    """Train a job alone, step by step."""
    network = build_network(
        spec.network, spec.regularization, data.input_shape, data.outputs, vocabulary=data.vocabulary
    )
    batches = Batches(data, spec.training, network.has_batch_norm)
    network = materialize(network, spec.training.seed)
    horizon = Horizon(batches.steps, batches.steps * epochs)
    step = Step(network, spec, CPU, horizon, batches.rows_of_batch)
    losses: list[Tensor] = []
    for epoch in range(epochs):
        step.begin()
        step.enter(epoch)
        losses += [step(batch, epoch * batches.steps + n)[0] for n, batch in enumerate(batches.of(epoch))]
        step.end()
    return network.state_dict(), torch.stack(losses)


def together(variants: Variants, records: bool = True, epochs: int = EPOCHS) -> tuple[Trained, Together]:
    """Train jobs together, step by step; weights and losses are [K, ...]."""
    pack, batches = packed(variants, records, epochs)
    losses: list[Tensor] = []
    for epoch in range(epochs):
        pack.begin()
        pack.enter(epoch)
        losses += [pack(batch, epoch * batches.steps + n)[0] for n, batch in enumerate(batches.of(epoch))]
        pack.end()
    return (pack.stacked.network.state_dict(), torch.stack(losses, dim=1)), pack


def packed(variants: Variants, records: bool = True, epochs: int = EPOCHS) -> tuple[Together, PackedBatches]:
    """Return jobs ready to train together, and their rows."""
    batches = PackedBatches(variants, variants.build(0).has_batch_norm)
    horizon = Horizon(batches.steps, batches.steps * epochs)
    return Together(variants, untouched, CPU, horizon, batches.rows_of_batch, records), batches


def assert_alike(stacked: Trained, each: Sequence[Trained], **tolerance: Any) -> None:
    """See that every job gave together what it gave alone."""
    for place, (weights, losses) in enumerate(each):
        torch.testing.assert_close(stacked[1][place], losses, **tolerance)
        for name, value in weights.items():
            torch.testing.assert_close(stacked[0][name][place], value, msg=lambda m, n=name: f"{n}: {m}", **tolerance)
