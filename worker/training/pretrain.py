"""Greedy layer-wise pre-training: each hidden layer learns, without labels, what the one before it gives."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from service.blocks.layers import Activated
from service.blocks.pretraining import Rbm
from service.failures import NonFiniteLoss
from service.network import Network
from service.network.beliefs import belief_stack
from service.network.modules import LayerRecord
from service.spec import JobSpec
from worker.training.rbm import Machine

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Pretrained:
    """A layer that is done, and its reconstruction error after every epoch."""

    layer: str
    errors: list[float]


def pretrain(
    spec: JobSpec, network: Network, x: Tensor, rows_of_batch: int, done: int, between: Callable[[], None]
) -> Iterator[Pretrained]:
    """Train the hidden layers from number `done` on, if the job asks for it; yield each when it is in the network.

    A function of (spec, weights, rows): broken off and begun again at the same layer, it ends with the same bits.
    `between` is called before every step, and may raise.

    Shape: `x` [rows, *input], the training rows.

    Raises:
        NonFiniteLoss: The weights of a layer diverged.
        InvalidSpec: A layer cannot be pre-trained.
    """
    rule, seed = spec.pretrain, spec.training.seed
    if not isinstance(rule, Rbm):
        return
    stack = belief_stack(spec.network, network)
    network.eval()
    for number, record in enumerate(stack[done:], done):
        linear = _linear(record)
        # Not around the yield: whoever takes what is yielded would be in inference mode, too.
        with torch.inference_mode():
            rows = _reaching(network, record, x)
            # Only the inputs may be Gaussian: what a layer gives is a probability.
            machine = Machine(rule, linear.weight, linear.bias, gaussian=number == 0 and _gaussian(rule, rows))
            errors = machine.train(rows, rows_of_batch, seed, number, between)
            if not math.isfinite(errors[-1]):
                raise NonFiniteLoss(f"Pre-training of {record.name} diverged. Try a lower pretrain.learning_rate.")
            linear.weight.data.copy_(machine.weight)
            if linear.bias is not None:
                linear.bias.data.copy_(machine.hidden_bias)
        yield Pretrained(record.name, errors)


def _reaching(network: Network, record: LayerRecord, x: Tensor) -> Tensor:
    """Return what reaches a layer, [rows, values]."""
    before = list(network.layers.values())[: network.records.index(record)]
    parts = []
    for start in range(0, len(x), ROWS_AT_ONCE):
        rows = x[start : start + ROWS_AT_ONCE]
        for module in before:
            rows = module(rows)
        parts.append(rows)
    return torch.cat(parts)


def _linear(record: LayerRecord) -> nn.Linear:
    module = record.module
    kernel = module.kernel if isinstance(module, Activated) else module
    assert isinstance(kernel, nn.Linear)
    return kernel


def _gaussian(rule: Rbm, rows: Tensor) -> bool:
    if rule.visible != "auto":
        return rule.visible == "gaussian"
    return not bool((rows >= 0).all() and (rows <= 1).all())
