"""What a network costs, against counts made by hand."""

from typing import Any

from service.network import build_network
from service.spec import NetworkSpec, RegularizationSpec
from service.summary import NetworkSummary, summarize

CNN: list[Any] = [
    {"type": "conv2d", "filters": 8, "kernel_size": 3, "padding": "same", "activation": "relu"},
    "max_pool2d",
    "batch_norm",
    "flatten",
    {"type": "dense", "units": "auto"},
]


def summary() -> NetworkSummary:
    spec = NetworkSpec.model_validate({"layers": CNN})
    return summarize(build_network(spec, RegularizationSpec(), (2, 6, 6), 10))


def test_every_layer_is_counted() -> None:
    conv, pool, norm, flat, dense = summary().layers
    assert (conv.path, conv.name, conv.type) == ("network.layers[0]", "conv2d_0", "conv2d")
    assert (conv.input_shape, conv.output_shape) == ([2, 6, 6], [8, 6, 6])
    assert (conv.parameters, conv.multiply_adds) == (2 * 8 * 9 + 8, 36 * 8 * 2 * 9)
    assert conv.activation_bytes == 8 * 36 * 4
    assert (pool.output_shape, pool.parameters, pool.multiply_adds) == ([8, 3, 3], 0, 0)
    assert (norm.parameters, flat.output_shape) == (16, [72])
    assert (dense.parameters, dense.multiply_adds, dense.activation_bytes) == (730, 720, 40)


def test_the_network_is_the_sum() -> None:
    whole = summary()
    assert whole.parameters == sum(layer.parameters for layer in whole.layers) == 152 + 16 + 730
    assert whole.multiply_adds == 5184 + 720
    assert whole.activation_bytes == (8 * 36 + 8 * 9 * 3 + 10) * 4
