"""Transposed, depthwise and separable convolutions and maxout, against torch and against sums written out."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from service.blocks.layers import Layer
from service.errors import InvalidSpec
from tests.support.networks import alone, build, put

SOURCE = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=SOURCE)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stride": 2},
        {"padding": 1, "stride": 2},
        {"dilation": 2},
        {"groups": 2},
        {"stride": 3, "padding": 1, "output_padding": 2},
    ],
)
def test_transposed_convolution_is_torchs(fields: dict[str, Any]) -> None:
    layer = alone(
        (4, 5, 6), {"type": "conv2d_transpose", "filters": 6, "kernel_size": 3, "bias_initializer": "normal"} | fields
    )
    weight, bias = layer.kernel.inner.weight, layer.kernel.inner.bias
    x = drawn(2, 4, 5, 6)
    torch.testing.assert_close(layer(x), functional.conv_transpose2d(x, weight, bias, **fields))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_transposed_convolution_is_the_gradient_of_the_convolution(axes: int) -> None:
    sizes = (5, 6, 4)[:axes]
    layer = alone((3, *sizes), {"type": f"conv{axes}d_transpose", "filters": 2, "kernel_size": 3, "stride": 2})
    x = drawn(1, 3, *sizes)
    grown = torch.zeros_like(layer(x)).requires_grad_()
    convolved = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1](
        grown, layer.kernel.inner.weight, stride=2
    )
    (gradient,) = torch.autograd.grad(convolved, grown, x)
    torch.testing.assert_close(layer(x), gradient)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_is_the_gradient_of_the_same_convolution(kernel: int, stride: int, dilation: int) -> None:
    # A convolution with padding "same" takes length * stride places to length; its gradient goes back.
    body = {"filters": 1, "kernel_size": kernel, "stride": stride, "dilation": dilation, "padding": "same"}
    layer = alone((1, 7), {"type": "conv1d_transpose", **body, "bias_initializer": "ones"})
    there = alone((1, 7 * stride), {"type": "conv1d", **body})
    put(there, weight=layer.kernel.inner.weight.detach())
    x, grown = drawn(1, 1, 7), torch.zeros(1, 1, 7 * stride, requires_grad=True)
    (gradient,) = torch.autograd.grad(there(grown), grown, x)
    # The bias is at every place, those behind the last kernel too.
    torch.testing.assert_close(layer(x), gradient + 1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"padding": "same", "output_padding": 1, "stride": 2}, "must be 0 with padding"),
        ({"output_padding": 2, "stride": 2}, "smaller than stride or dilation"),
    ],
)
def test_output_padding_is_the_rest_of_a_step(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Layer.members()["conv1d_transpose"].model_validate({"filters": 1, "kernel_size": 3, **fields})


def test_what_is_cut_off_entirely_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="cuts everything off") as caught:
        build((1, 2), {"type": "conv1d_transpose", "filters": 1, "kernel_size": 3, "padding": 4})
    assert caught.value.problems[0].path == "network.layers[0]"


@pytest.mark.parametrize("groups", [1, 2])
def test_rules_of_kernels_see_the_weights_into_each_unit(groups: int) -> None:
    """torch keeps the inputs of a transposed kernel first; fans and norms are those of the outputs all the same."""
    body: dict[str, Any] = {"type": "conv2d_transpose", "filters": 8, "kernel_size": 3, "groups": groups}
    wide = alone((400, 4, 4), {**body, "filters": 40, "initializer": "he_normal"})
    assert float(wide.kernel.inner.weight.detach().var()) == pytest.approx(2 / (400 / groups * 9), rel=0.05)
    network = build((4, 4, 4), {**body, "constraint": {"max_norm": 0.5}, "initializer": "ones"})
    network.constrain_()
    weight = network.layers["conv2d_transpose_0"].kernel.inner.weight
    by_unit = torch.cat([part.transpose(0, 1) for part in weight.chunk(groups)])
    torch.testing.assert_close(by_unit.flatten(1).norm(dim=1), torch.full((8,), 0.5))


@pytest.mark.parametrize("kind", ["conv1d", "conv1d_transpose"])
def test_groups_start_each_by_itself(kind: str) -> None:
    body = {"type": kind, "filters": 200, "kernel_size": 3, "groups": 5, "initializer": "glorot_normal"}
    (weight,) = (p.detach() for p in alone((100, 9), body).parameters() if p.ndim > 1)
    assert float(weight.var()) == pytest.approx(2 / (3 * 20 + 3 * 40), rel=0.04)


def test_a_depthwise_kernel_starts_from_the_places_of_its_own_channel() -> None:
    body: dict[str, Any] = {"type": "depthwise_conv2d", "kernel_size": 5, "padding": "same"}
    wide = alone((400, 5, 5), {**body, "depth_multiplier": 3, "initializer": "glorot_normal"}).kernel.weight.detach()
    assert float(wide.var()) == pytest.approx(2 / (25 + 3 * 25), rel=0.03)
    x = drawn(2, 3, 6, 6)
    torch.testing.assert_close(alone((3, 6, 6), {**body, "initializer": "identity"})(x), x)


@pytest.mark.parametrize("fields", [{}, {"stride": 2}, {"padding": "same"}, {"depth_multiplier": 3}, {"dilation": 2}])
def test_depthwise_looks_at_each_channel_by_itself(fields: dict[str, Any]) -> None:
    layer = alone((3, 9), {"type": "depthwise_conv1d", "kernel_size": 3, **fields})
    x, each = drawn(2, 3, 9), int(fields.get("depth_multiplier", 1))
    kernel = layer.kernel.weight
    assert kernel.shape == (3 * each, 1, 3)
    settings = {name: value for name, value in fields.items() if name != "depth_multiplier"}
    parts = [functional.conv1d(x[:, c : c + 1], kernel[c * each : (c + 1) * each], **settings) for c in range(3)]
    torch.testing.assert_close(layer(x), torch.cat(parts, dim=1))


def test_separable_is_depthwise_then_a_mix_of_the_channels() -> None:
    layer = alone(
        (3, 6, 6),
        {"type": "separable_conv2d", "filters": 5, "kernel_size": 3, "padding": "same", "depth_multiplier": 2},
    )
    x = drawn(2, 3, 6, 6)
    deep = functional.conv2d(x, layer.kernel.depthwise.weight, padding=1, groups=3)
    mixed = torch.einsum("bchw,fc->bfhw", deep, layer.kernel.pointwise.weight[:, :, 0, 0])
    torch.testing.assert_close(layer(x), mixed)
    # 3 * 2 kernels of 3 x 3, then 6 to 5 channels with a bias: what a plain convolution would need 135 + 5 for.
    assert sum(p.numel() for p in layer.parameters()) == 6 * 9 + 6 * 5 + 5


def test_maxout_is_the_largest_of_affine_functions() -> None:
    layer = alone((4,), {"type": "maxout", "units": 3, "pieces": 5, "bias_initializer": "normal"})
    x = drawn(6, 4)
    pieces = layer.kernel(x).view(6, 3, 5)
    torch.testing.assert_close(layer(x), pieces.max(dim=2).values)
    assert sum(p.numel() for p in layer.parameters()) == 3 * 5 * (4 + 1)


def test_maxout_can_be_the_absolute_value() -> None:
    layer = alone((1,), {"type": "maxout", "units": 1, "pieces": 2})
    put(layer, weight=[[1.0], [-1.0]], bias=[0.0, 0.0])
    torch.testing.assert_close(layer(torch.tensor([[-2.0], [3.0]])), torch.tensor([[2.0], [3.0]]))


def test_maxout_activation_takes_the_largest_of_neighbours() -> None:
    body = {"type": "dense", "units": 6, "activation": {"type": "maxout", "pieces": 3}}
    layer = alone((4,), body)
    x = drawn(5, 4)
    torch.testing.assert_close(layer(x), layer.kernel(x).view(5, 2, 3).amax(2))
    with pytest.raises(InvalidSpec, match="channels that 3 pieces divide, not 7"):
        build((4,), {**body, "units": 7})


def test_a_maxout_needs_no_other_activation() -> None:
    with pytest.raises(InvalidSpec, match="no activation of its own"):
        build((4,), {"type": "maxout", "units": 3, "activation": "relu"})
    build((4,), {"type": "maxout", "units": 3}, activation="relu")
