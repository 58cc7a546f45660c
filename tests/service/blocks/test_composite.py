"""Layers that hold layers: the graphs they describe, and what they refuse."""

from typing import Any

import pytest
import torch

from service.blocks.noise import StepNoise, set_noise
from service.errors import InvalidSpec, Problem
from service.network import Network, build_network, materialize
from service.spec import NetworkSpec, RegularizationSpec

Layers = list[Any]


def build(layers: Layers, shape: tuple[int, ...], outputs: int = 3) -> Network:
    return build_network(NetworkSpec.model_validate({"layers": layers}), RegularizationSpec(), shape, outputs)


def refusal(layers: Layers, shape: tuple[int, ...]) -> Problem:
    with pytest.raises(InvalidSpec) as error:
        build(layers, shape)
    return error.value.problems[0]


def dense(units: int | str, **more: Any) -> dict[str, Any]:
    return {"type": "dense", "units": units, **more}


def test_residual_adds_the_input_to_what_its_layers_give() -> None:
    net = materialize(build([{"type": "residual", "layers": [dense(6)], "activation": "relu"}, dense("auto")], (6,)), 0)
    x = torch.randn(5, 6)
    block = net.layers["residual_0"]
    inner = block.layers["dense_0"]
    torch.testing.assert_close(block(x), torch.relu(x + inner(x)))


def test_residual_with_a_shortcut_changes_shape() -> None:
    block = {"type": "residual", "layers": [dense(4)], "shortcut": [dense(4, use_bias=False)]}
    net = materialize(build([block, dense("auto")], (6,)), 0)
    residual, x = net.layers["residual_0"], torch.randn(5, 6)
    both = residual.layers["dense_0"](x) + residual.shortcut["dense_0"](x)
    torch.testing.assert_close(residual(x), both)


def test_parallel_concatenates_or_adds() -> None:
    branches = [dense(2), {"type": "sequential", "layers": [dense(7), dense(2)]}]
    for merge, width in (("concat", 4), ("add", 2)):
        net = build([{"type": "parallel", "branches": branches, "merge": merge}, dense("auto")], (6,))
        assert net.records[0].output_shape == (width,)


def test_weights_inside_obey_the_rules_of_the_network() -> None:
    spec = NetworkSpec.model_validate(
        {"layers": [{"type": "residual", "layers": [dense(6)]}, dense("auto")], "regularizer": {"l2": 0.1}}
    )
    net = materialize(build_network(spec, RegularizationSpec(), (6,), 3), 0)
    assert len(net.kernels) == 2
    assert net.parameter_count == 6 * 6 + 6 + 6 * 3 + 3


def test_dropout_inside_is_dropout_of_the_network() -> None:
    inner = [dense(6), {"type": "dropout", "rate": 0.5}]
    net = materialize(build([dense(6), {"type": "residual", "layers": inner}, dense("auto")], (6,)), 0).eval()
    assert net.stochastic_layers == ["residual_1"]
    x = torch.randn(5, 6)
    plain = net(x)
    set_noise(net, StepNoise(0, 0, torch.device("cpu")))
    assert not torch.equal(net(x), plain)


def test_errors_name_the_layer_inside() -> None:
    deep = [
        {"type": "residual", "layers": [dense(6), {"type": "conv2d", "filters": 2, "kernel_size": 3}]},
        dense("auto"),
    ]
    assert refusal(deep, (6,)).path == "network.layers[0].layers[1]"
    wrong = refusal([{"type": "residual", "layers": [dense(4)]}, dense("auto")], (6,))
    assert wrong.path == "network.layers[0]" and "shortcut" in wrong.message
    apart = {"type": "parallel", "branches": [dense(2), dense(3)], "merge": "add"}
    assert refusal([apart, dense("auto")], (6,)).path == "network.layers[0]"


def test_nesting_has_an_end() -> None:
    layer: dict[str, Any] = dense(6)
    for _ in range(30):
        layer = {"type": "residual", "layers": [layer]}
    assert "deep" in refusal([layer, dense("auto")], (6,)).message
