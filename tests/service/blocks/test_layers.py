"""Layers against torch and numpy: windows, padding, pooling, normalisation, dense and dropout."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from service.blocks.layers import Layer
from service.blocks.noise import StepNoise, StochasticModule, set_noise
from service.errors import InvalidSpec
from service.network import Network, build_network, materialize
from service.spec import NetworkSpec, RegularizationSpec

X1 = torch.randn(2, 4, 11, generator=torch.Generator().manual_seed(0))
X2 = torch.randn(2, 4, 7, 10, generator=torch.Generator().manual_seed(0))


def build(shape: tuple[int, ...], *layers: dict[str, Any]) -> Network:
    tail = [{"type": "flatten"}, {"type": "dense", "units": "auto"}]
    spec = NetworkSpec.model_validate({"layers": [*layers, *tail]})
    return materialize(build_network(spec, RegularizationSpec(), shape, 1), seed=1).eval()


def first(network: Network) -> nn.Module:
    return network.records[0].module


def weights(network: Network) -> tuple[torch.Tensor, torch.Tensor]:
    kernel, bias = (parameter.detach() for parameter in first(network).parameters())
    bias.uniform_(generator=torch.Generator().manual_seed(1))
    return kernel, bias


def run(x: torch.Tensor, **body: Any) -> torch.Tensor:
    out: torch.Tensor = first(build(tuple(x.shape[1:]), body))(x).detach()
    return out


def refusal(shape: tuple[int, ...], **body: Any) -> str:
    with pytest.raises(InvalidSpec) as caught:
        build(shape, body)
    (problem,) = caught.value.problems
    assert problem.path == "network.layers[0]"
    assert problem.got == list(shape)
    return problem.message


def test_dense_works_on_the_last_axis() -> None:
    network = build((3, 4, 5), {"type": "dense", "units": 2, "activation": "relu"})
    x = torch.randn(6, 3, 4, 5)
    kernel, bias = weights(network)
    np.testing.assert_allclose(
        first(network)(x).detach().numpy(),
        np.maximum(x.numpy() @ kernel.numpy().T + bias.numpy(), 0),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"kernel_size": 3},
        {"kernel_size": [3, 2], "stride": [2, 1], "padding": [1, 0]},
        {"kernel_size": 3, "dilation": 2, "padding": 2},
        {"kernel_size": 3, "groups": 2, "padding": "same"},
    ],
)
def test_conv2d_is_torchs(fields: dict[str, Any]) -> None:
    network = build((4, 7, 10), {"type": "conv2d", "filters": 6, **fields})
    kernel, bias = weights(network)
    padding = fields.get("padding", 0)
    rest = {
        key: tuple(v) if isinstance(v, list) else v
        for key, v in fields.items()
        if key in ("stride", "dilation", "groups")
    }
    expected = functional.conv2d(X2, kernel, bias, padding=padding, **rest)
    torch.testing.assert_close(first(network)(X2), expected)


def test_conv1d_is_torchs() -> None:
    network = build((4, 11), {"type": "conv1d", "filters": 3, "kernel_size": 4, "stride": 2, "padding": 1})
    kernel, bias = weights(network)
    torch.testing.assert_close(first(network)(X1), functional.conv1d(X1, kernel, bias, stride=2, padding=1))


@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("length", [9, 10, 11])
def test_same_leaves_the_ceiling_with_the_odd_zero_behind(kernel: int, stride: int, length: int) -> None:
    network = build(
        (1, length), {"type": "conv1d", "filters": 1, "kernel_size": kernel, "stride": stride, "padding": "same"}
    )
    x = torch.randn(1, 1, length)
    weight, bias = weights(network)
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    padded = np.pad(x[0, 0].numpy(), (total // 2, total - total // 2))
    expected = [
        padded[i : i + kernel] @ weight[0, 0].numpy() + bias.item() for i in range(0, len(padded) - kernel + 1, stride)
    ]
    out = first(network)(x)
    assert out.shape[-1] == -(-length // stride)
    np.testing.assert_allclose(out[0, 0].detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_sizes_have_one_canonical_form() -> None:
    conv = Layer.members()["conv2d"]
    short = conv.model_validate({"filters": 2, "kernel_size": 3, "padding": 0, "stride": 2})
    long = conv.model_validate({"filters": 2, "kernel_size": [3, 3], "padding": [0, 0], "stride": [2, 2]})
    assert short == long == conv.model_validate({"filters": 2, "kernel_size": 3, "padding": "valid", "stride": 2})
    assert short.model_dump(mode="json")["kernel_size"] == [3, 3]


def test_pooling_is_torchs() -> None:
    torch.testing.assert_close(run(X2, type="max_pool2d"), functional.max_pool2d(X2, 2))
    torch.testing.assert_close(
        run(X2, type="average_pool2d", pool_size=[3, 2], stride=1), functional.avg_pool2d(X2, (3, 2), 1)
    )
    torch.testing.assert_close(run(X1, type="max_pool1d", pool_size=3, stride=2), functional.max_pool1d(X1, 3, 2))
    torch.testing.assert_close(run(X1, type="average_pool1d", pool_size=4), functional.avg_pool1d(X1, 4))
    torch.testing.assert_close(
        run(X2, type="average_pool2d", padding=1), functional.avg_pool2d(X2, 2, padding=1, count_include_pad=False)
    )
    torch.testing.assert_close(run(X2, type="max_pool2d", padding=1), functional.max_pool2d(X2, 2, padding=1))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_pooling_sees_only_what_is_there(stride: int) -> None:
    x = torch.tensor([[[-3.0, -1.0, -2.0, -5.0, -4.0]]])
    largest = run(x, type="max_pool1d", pool_size=2, stride=stride, padding="same")[0, 0].tolist()
    mean = run(x, type="average_pool1d", pool_size=2, stride=stride, padding="same")[0, 0].tolist()
    pairs = [x[0, 0, i : i + 2].tolist() for i in range(0, 5, stride)]
    if stride == 3:  # Both windows fit, with nothing around them.
        pairs = [[-3.0, -1.0], [-5.0, -4.0]]
    assert largest == [max(pair) for pair in pairs]
    assert mean == [sum(pair) / len(pair) for pair in pairs]


def test_global_pooling_takes_any_rank() -> None:
    for x in (X1, X2, torch.randn(2, 3, 2, 2, 2)):
        axes = tuple(range(2, x.ndim))
        torch.testing.assert_close(run(x, type="global_max_pool"), x.amax(axes))
        torch.testing.assert_close(run(x, type="global_average_pool"), x.mean(axes))


@pytest.mark.parametrize("shape", [(5,), (5, 4), (5, 4, 3)])
def test_batch_norm_keeps_the_share_that_momentum_says(shape: tuple[int, ...]) -> None:
    network = build(shape, {"type": "batch_norm", "momentum": 0.75})
    x = 3 + 2 * torch.randn(50, *shape)
    axes = (0, *range(2, x.ndim))
    network.train()(x)
    running = dict(first(network).named_buffers())
    torch.testing.assert_close(running["running_mean"], 0.25 * x.mean(axes))
    torch.testing.assert_close(running["running_var"], 0.75 + 0.25 * x.var(axes))
    before = running["running_mean"].clone()
    network.eval()(x)
    assert torch.equal(running["running_mean"], before)


def test_layer_norm_is_over_all_values_of_a_row() -> None:
    out = run(X2, type="layer_norm", epsilon=1e-9)
    torch.testing.assert_close(out.mean((1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var((1, 2, 3), correction=0), torch.ones(2))


def test_dropout_drops_its_share_keeps_the_mean_and_has_a_mask_for_every_value() -> None:
    network = build((100, 100), {"type": "dropout", "rate": 0.3})
    set_noise(network, StepNoise(0, 0, torch.device("cpu")))
    out = first(network)(torch.ones(20, 100, 100))
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    assert out.mean().item() == pytest.approx(1, abs=0.01)
    assert torch.unique(out).tolist() == pytest.approx([0, 1 / 0.7], rel=1e-4)
    assert not torch.equal(out[0], out[1])


def test_two_dropouts_have_masks_of_their_own() -> None:
    network = build((1000,), {"type": "dropout", "rate": 0.5}, {"type": "dropout", "rate": 0.5})
    set_noise(network, StepNoise(0, 0, torch.device("cpu")))
    keys = [m.key for m in network.modules() if isinstance(m, StochasticModule)]
    assert keys == [0, 1]
    kept = (network.layers["dropout_1"](network.layers["dropout_0"](torch.ones(1, 1000))) != 0).float().mean().item()
    assert kept == pytest.approx(0.25, abs=0.06)


def test_dropout_of_nothing_is_not_stochastic() -> None:
    assert build((4,), {"type": "dropout", "rate": 0}).stochastic_layers == []


@pytest.mark.parametrize(
    ("shape", "body", "words"),
    [
        ((13,), {"type": "conv1d", "filters": 2, "kernel_size": 3}, "(channels, length)"),
        ((28, 28), {"type": "conv2d", "filters": 2, "kernel_size": 3}, "(channels, height, width)"),
        ((1, 8, 8), {"type": "conv2d", "filters": 2, "kernel_size": 5, "dilation": 2}, "at least 9 x 9 places"),
        ((3, 8, 8), {"type": "conv2d", "filters": 4, "kernel_size": 3, "groups": 2}, "2 groups divide"),
        ((4, 8), {"type": "max_pool2d"}, "(channels, height, width)"),
        ((4, 2, 8), {"type": "average_pool2d", "pool_size": 3}, "at least 3 x 3 places"),
        ((4,), {"type": "global_average_pool"}, "at least one axis behind the channels"),
        ((2, 2, 2, 2, 2), {"type": "batch_norm"}, "up to three axes"),
    ],
)
def test_a_wrong_shape_is_refused_in_words(shape: tuple[int, ...], body: dict[str, Any], words: str) -> None:
    assert words in refusal(shape, **body)
