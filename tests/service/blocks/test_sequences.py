"""Recurrent layers against the formulas of their papers, and layers that rearrange or disturb."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from service.blocks.noise import StepNoise, set_noise
from service.blocks.recurrent import Lstm
from service.errors import InvalidSpec
from service.network import Network, build_network, materialize
from service.spec import NetworkSpec, RegularizationSpec

CPU = torch.device("cpu")


def build(layer: dict[str, Any], shape: tuple[int, ...]) -> Network:
    layers = [layer, "flatten", {"type": "dense", "units": "auto"}]
    spec = NetworkSpec.model_validate({"layers": layers, "initializer": {"type": "normal", "std": 0.5}})
    return materialize(build_network(spec, RegularizationSpec(), shape, 2), 3).eval()


def recur(kind: str, cell: Any, x: Tensor) -> Tensor:
    """Return the outputs [batch, length, units] of one way, written out from the papers' equations."""
    w, u, b = cell.weight_ih_l0, cell.weight_hh_l0, cell.bias_ih_l0 + cell.bias_hh_l0
    units = u.shape[1]
    h = c = torch.zeros(len(x), units)
    outputs = []
    for t in range(x.shape[1]):
        z = x[:, t] @ w.T + h @ u.T + b
        if kind == "simple_rnn":
            h = torch.tanh(z)
        elif kind == "lstm":
            i, f, g, o = z.split(units, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        else:
            zx, zh = x[:, t] @ w.T + cell.bias_ih_l0, h @ u.T + cell.bias_hh_l0
            (rx, ux, nx), (rh, uh, nh) = zx.split(units, dim=1), zh.split(units, dim=1)
            update = torch.sigmoid(ux + uh)
            h = (1 - update) * torch.tanh(nx + torch.sigmoid(rx + rh) * nh) + update * h
        outputs.append(h)
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("kind", ["simple_rnn", "lstm", "gru"])
def test_recurrent_layer_is_its_equations(kind: str) -> None:
    x = torch.randn(4, 7, 3)
    for whole in (True, False):
        net = build({"type": kind, "units": 5, "return_sequences": whole}, (7, 3))
        expected = recur(kind, net.layers[f"{kind}_0"].cell, x)
        out = net.layers[f"{kind}_0"](x)
        torch.testing.assert_close(out, expected if whole else expected[:, -1])


@pytest.mark.parametrize("kind", ["simple_rnn", "lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_the_loop_with_dropout_is_torchs_where_nothing_is_dropped(
    kind: str, bidirectional: bool, use_bias: bool
) -> None:
    body = {"type": kind, "units": 5, "bidirectional": bidirectional, "use_bias": use_bias, "return_sequences": True}
    net = build({**body, "recurrent_dropout": 0.4, "bias_initializer": "normal"}, (7, 3))
    layer, x = net.layers[f"{kind}_0"], torch.randn(4, 7, 3)
    ones = torch.ones(4, 5)
    ways = [layer._run(x, way, ones) for way in range(1 + bidirectional)]
    torch.testing.assert_close(torch.cat(ways, dim=2), layer.cell(x)[0])
    torch.testing.assert_close(layer(x), layer.cell(x)[0])


@pytest.mark.parametrize("kind", ["simple_rnn", "lstm", "gru"])
def test_one_mask_goes_through_the_whole_sequence(kind: str) -> None:
    net = build({"type": kind, "units": 6, "dropout": 0.5, "recurrent_dropout": 0.5, "return_sequences": True}, (5, 3))
    layer, x = net.layers[f"{kind}_0"], torch.randn(4, 5, 3)
    set_noise(net, StepNoise(0, 0, CPU))
    inputs = layer.input_mask.of(x, 3)
    states = layer.state_masks[0].of(x, 6)
    assert set(inputs.unique().tolist()) <= {0.0, 2.0} and set(states.unique().tolist()) <= {0.0, 2.0}
    cell, h, c = layer.cell, torch.zeros(4, 6), torch.zeros(4, 6)
    for place in range(5):
        z = (x[:, place] * inputs) @ cell.weight_ih_l0.T + cell.bias_ih_l0
        u = (h * states) @ cell.weight_hh_l0.T + cell.bias_hh_l0
        if kind == "simple_rnn":
            h = torch.tanh(z + u)
        elif kind == "lstm":
            i, f, g, o = (z + u).split(6, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        else:
            (rx, ux, nx), (rh, uh, nh) = z.split(6, dim=1), u.split(6, dim=1)
            update = torch.sigmoid(ux + uh)
            h = (1 - update) * torch.tanh(nx + torch.sigmoid(rx + rh) * nh) + update * h
        torch.testing.assert_close(layer(x)[:, place], h)
    assert net.stochastic_layers == [f"{kind}_0"]


def test_bidirectional_gives_the_end_of_either_way() -> None:
    net = build({"type": "gru", "units": 5, "bidirectional": True}, (7, 3))
    layer, x = net.layers["gru_0"], torch.randn(4, 7, 3)
    outputs = layer.cell(x)[0]
    torch.testing.assert_close(layer(x), torch.cat([outputs[:, -1, :5], outputs[:, 0, 5:]], dim=1))


def gates(name: str, body: dict[str, Any], count: int) -> tuple[Tensor, ...]:
    net = build(body, (4, 3))
    chunks: tuple[Tensor, ...] = net.layers[f"{body['type']}_0"].cell.get_parameter(name).detach().chunk(count)
    return chunks


@pytest.mark.parametrize(("kind", "count"), [("simple_rnn", 1), ("lstm", 4), ("gru", 3)])
def test_every_gate_may_start_orthogonal(kind: str, count: int) -> None:
    body = {"type": kind, "units": 6, "recurrent_initializer": "orthogonal", "bidirectional": True}
    for name in ("weight_hh_l0", "weight_hh_l0_reverse"):
        for gate in gates(name, body, count):
            torch.testing.assert_close(gate @ gate.T, torch.eye(6), rtol=0, atol=1e-5)
    (inputs,) = gates("weight_ih_l0", body, 1)
    assert inputs.std().item() == pytest.approx(0.5, rel=0.4)  # the network's initializer


def test_the_forget_gate_may_start_open() -> None:
    body = {"type": "lstm", "units": 6, "unit_forget_bias": True, "bidirectional": True}
    for name in ("bias_ih_l0", "bias_ih_l0_reverse"):
        assert [gate.unique().tolist() for gate in gates(name, body, 4)] == [[0.0], [1.0], [0.0], [0.0]]
    assert gates("bias_hh_l0", body, 1)[0].unique().tolist() == [0.0]
    with pytest.raises(ValidationError, match="needs a bias"):
        Lstm.model_validate({"units": 6, "unit_forget_bias": True, "use_bias": False})


def test_recurrent_layers_take_sequences_only() -> None:
    with pytest.raises(InvalidSpec, match="length, features"):
        build({"type": "lstm", "units": 5}, (7,))


def test_rearranging() -> None:
    x = torch.arange(24.0).view(2, 3, 4)
    cases: list[tuple[dict[str, Any], Tensor]] = [
        ({"type": "permute", "axes": [1, 0]}, x.transpose(1, 2)),
        ({"type": "reshape", "shape": [2, 6]}, x.view(2, 2, 6)),
        ({"type": "zero_pad", "size": 2}, torch.nn.functional.pad(x, (2, 2))),
        ({"type": "upsample", "factor": 3}, x.repeat_interleave(3, dim=2)),
    ]
    for body, expected in cases:
        assert torch.equal(build(body, (3, 4)).layers[f"{body['type']}_0"](x), expected)
    for body in ({"type": "reshape", "shape": [5]}, {"type": "permute", "axes": [0, 0]}):
        with pytest.raises(InvalidSpec):
            build(body, (3, 4))


def noisy(body: dict[str, Any], x: Tensor) -> Tensor:
    net = build(body, tuple(x.shape[1:]))
    set_noise(net, StepNoise(0, 0, CPU))
    out: Tensor = net.layers[f"{body['type']}_0"](x)
    return out


def test_spatial_dropout_drops_whole_channels() -> None:
    out = noisy({"type": "spatial_dropout", "rate": 0.25}, torch.ones(500, 8, 3, 3))
    channels = out.flatten(2)
    assert torch.equal(channels.amin(2), channels.amax(2))
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert out.mean().item() == pytest.approx(1.0, abs=0.04)


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    out = noisy({"type": "alpha_dropout", "rate": 0.3}, torch.randn(2000, 100))
    assert out.mean().item() == pytest.approx(0.0, abs=0.02)
    assert out.std().item() == pytest.approx(1.0, abs=0.02)


def test_gaussian_noise_has_its_deviation() -> None:
    out = noisy({"type": "gaussian_noise", "std": 0.4}, torch.zeros(2000, 100))
    assert torch.isfinite(out).all()
    assert out.mean().item() == pytest.approx(0.0, abs=0.005)
    assert out.std().item() == pytest.approx(0.4, abs=0.005)
    assert (out.abs() < 0.4).float().mean().item() == pytest.approx(0.6827, abs=0.01)
