"""Networks of a few layers, built as the service builds them, with weights that a test chooses."""

from typing import Any

import torch
from torch import nn

from service.network import Network, build_network, materialize
from service.spec import NetworkSpec, RegularizationSpec

Body = str | dict[str, Any]


def build(shape: tuple[int, ...], *layers: Body, outputs: int | None = None, seed: int = 0, **shared: Any) -> Network:
    """Build a network of these layers; without `outputs`, one that has a dense layer of one unit behind them."""
    tail: list[Body] = [] if outputs else ["flatten", {"type": "dense", "units": "auto"}]
    spec = NetworkSpec.model_validate({"layers": [*layers, *tail], **shared})
    return materialize(build_network(spec, RegularizationSpec(), shape, outputs or 1), seed).eval()


def first(network: Network) -> nn.Module:
    """Return the module of the first layer."""
    return network.records[0].module


def alone(shape: tuple[int, ...], body: Body, seed: int = 0) -> nn.Module:
    """Build one layer and return its module."""
    return first(build(shape, body, seed=seed))


@torch.no_grad()
def put(module: nn.Module, **values: Any) -> None:
    """Set the parameters and buffers of these names, each of which `module` has once, however deep."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, value in values.items():
        (tensor,) = [tensor for path, tensor in tensors if path.rsplit(".", 1)[-1] == name]
        value = torch.as_tensor(value, dtype=tensor.dtype)
        assert value.shape == tensor.shape, (name, value.shape, tensor.shape)
        tensor.copy_(value)
