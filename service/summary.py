"""What a network costs: shapes, parameters and multiply-adds, from running it on the meta device."""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from service.network import META, PROBE_ROWS, LayerRecord, Network

FLOAT_BYTES = 4


@dataclass(frozen=True)
class LayerSummary:
    """One layer. Shapes have no batch dimension; multiply-adds and bytes are those of one row."""

    path: str
    name: str
    type: str
    input_shape: list[int]
    output_shape: list[int]
    parameters: int
    trainable_parameters: int
    multiply_adds: int
    activation_bytes: int


@dataclass(frozen=True)
class NetworkSummary:
    """The whole network; multiply-adds and bytes are those of one row."""

    layers: list[LayerSummary]
    parameters: int
    trainable_parameters: int
    multiply_adds: int
    activation_bytes: int


def summarize(network: Network) -> NetworkSummary:
    """Run every layer of a network that `build_network` returned, on the meta device, and add up what it costs.

    Multiply-adds are those of matrix products and convolutions.
    """
    layers = [_layer(network, record) for record in network.records]
    parameters, learning = sum(layer.parameters for layer in layers), sum(x.trainable_parameters for x in layers)
    return NetworkSummary(
        layers=layers,
        parameters=parameters,
        trainable_parameters=learning,
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
    )


def _layer(network: Network, record: LayerRecord) -> LayerSummary:
    module = record.module
    sizes = {f"layers.{record.name}.{name}": p.numel() for name, p in module.named_parameters()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        out = module(torch.empty(PROBE_ROWS, *record.input_shape, device=META))
    return LayerSummary(
        path=record.path,
        name=record.name,
        type=record.layer.type,
        input_shape=list(record.input_shape),
        output_shape=list(record.output_shape),
        parameters=sum(sizes.values()),
        trainable_parameters=sum(size for name, size in sizes.items() if network.learning[name].since is not None),
        multiply_adds=counter.get_total_flops() // (2 * PROBE_ROWS),
        activation_bytes=out.numel() // PROBE_ROWS * FLOAT_BYTES,
    )
