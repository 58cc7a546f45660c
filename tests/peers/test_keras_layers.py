"""Layers against Keras' of the same name, with the same weights on the same input.

Keras has channels last and kernels [*sizes, in, out]; here channels are first and kernels [out, in, *sizes].
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.peers.keras_on_torch import agree, ignore_warnings, keras
from tests.support.networks import alone, put

pytestmark = ignore_warnings
layers = keras.layers
SIZES = {1: (11,), 2: (7, 10), 3: (5, 6, 7)}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def last(x: Tensor) -> Tensor:
    return x.movedim(1, -1).contiguous()


def kernel_and_bias(module: nn.Module, bias: bool = True) -> list[Any]:
    """Return the weights of a dense layer or a convolution as Keras has them, the bias made to show."""
    kernel = module.get_parameter(next(n for n, p in module.named_parameters() if p.ndim > 1)).detach()
    if not bias:
        return [last(kernel.transpose(0, 1)).movedim(0, -2).numpy()]
    put(module, bias=(offset := drawn(len(kernel), seed=5)))
    return [kernel.permute(*range(2, kernel.ndim), 1, 0).numpy(), offset.numpy()]


def same_convolution(axes: int, **fields: Any) -> None:
    x = drawn(2, 4, *SIZES[axes])
    ours = alone((4, *SIZES[axes]), {"type": f"conv{axes}d", "filters": 6, **fields})
    options = {{"stride": "strides", "dilation": "dilation_rate"}.get(k, k): v for k, v in fields.items()}
    theirs = getattr(layers, f"Conv{axes}D")(6, **options)
    theirs.build(last(x).shape)
    theirs.set_weights(kernel_and_bias(ours))
    agree(last(ours(x)), theirs(last(x)))


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense(use_bias: bool) -> None:
    x = drawn(3, 4, 5)
    ours = alone((4, 5), {"type": "dense", "units": 6, "activation": "tanh", "use_bias": use_bias})
    theirs = layers.Dense(6, activation="tanh", use_bias=use_bias)
    theirs.build(x.shape)
    theirs.set_weights(kernel_and_bias(ours, use_bias))
    agree(ours(x), theirs(x))


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [2, 3, 4])
def test_convolution(axes: int, padding: str, stride: int, kernel_size: int) -> None:
    same_convolution(axes, kernel_size=kernel_size, padding=padding, stride=stride)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolution_with_holes_and_in_groups(axes: int) -> None:
    same_convolution(axes, kernel_size=2, padding="same", dilation=2)
    same_convolution(axes, kernel_size=3, padding="same", stride=2, groups=2)


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [None, 1, 2, 3])
@pytest.mark.parametrize("pool_size", [2, 3])
def test_pooling(kind: str, axes: int, padding: str, stride: int | None, pool_size: int) -> None:
    x = drawn(2, 3, *SIZES[axes]) - 5  # a zero of padding would be the largest
    body = {"type": f"{kind}_pool{axes}d", "pool_size": pool_size, "padding": padding, "stride": stride}
    theirs = getattr(layers, f"{kind.title()}Pooling{axes}D")(pool_size, strides=stride, padding=padding)
    expected = mean_of_what_is_there(x, pool_size, stride) if kind + padding == "averagesame" else theirs(last(x))
    agree(last(alone((3, *SIZES[axes]), body)(x)), expected)


def mean_of_what_is_there(x: Tensor, pool_size: int, stride: int | None) -> Any:
    """Return means of windows as Keras has them on its other backends: padding does not count.

    On torch it repeats the outermost values where an axis needs more padding behind than before. Sums over places that
    are there, by how many there are, come from its convolution.
    """
    channels = x.shape[1]
    kernel = torch.eye(channels).expand(*[pool_size] * (x.ndim - 2), channels, channels)
    sums = [
        keras.ops.conv(values, kernel, strides=stride or pool_size, padding="same")
        for values in (last(x), torch.ones_like(last(x)))
    ]
    return sums[0] / sums[1]


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_global_pooling(kind: str, axes: int) -> None:
    x = drawn(2, 3, *SIZES[axes])
    theirs = getattr(layers, f"Global{kind.title()}Pooling{axes}D")()
    agree(alone((3, *SIZES[axes]), {"type": f"global_{kind}_pool"})(x), theirs(last(x)))


@pytest.mark.parametrize("shape", [(5,), (5, 4), (5, 4, 3), (5, 2, 3, 4)])
def test_batch_norm(shape: tuple[int, ...]) -> None:
    x, rows = 3 + 2 * drawn(6, *shape), 6 * torch.Size(shape[1:]).numel()
    ours = alone(shape, {"type": "batch_norm", "momentum": 0.8, "epsilon": 0.01}).train()
    theirs = layers.BatchNormalization(momentum=0.8, epsilon=0.01)
    theirs.build(last(x).shape)
    gamma, beta, mean, variance = drawn(5, seed=1), drawn(5, seed=2), drawn(5, seed=3), drawn(5, seed=4).exp()
    put(ours, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
    theirs.set_weights([t.numpy() for t in (gamma, beta, mean, variance)])
    agree(last(ours(x)), theirs(last(x), training=True))
    buffers = dict(ours.named_buffers())
    agree(buffers["running_mean"], theirs.moving_mean)
    # The moving variance here estimates that of all data (Ioffe and Szegedy 2015, algorithm 2), n / (n - 1) times that
    # of the batch; Keras takes the batch's.
    batch = (array_of(theirs.moving_variance) - 0.8 * variance) / 0.2
    torch.testing.assert_close(buffers["running_var"], 0.8 * variance + 0.2 * batch * rows / (rows - 1))
    put(ours, running_var=array_of(theirs.moving_variance))
    agree(last(ours.eval()(x)), theirs(last(x), training=False))


def array_of(variable: Any) -> Tensor:
    return torch.tensor(keras.ops.convert_to_numpy(variable))


@pytest.mark.parametrize("shape", [(6,), (6, 4), (6, 4, 3)])
@pytest.mark.parametrize("kind", ["layer_norm", "group_norm", "instance_norm"])
def test_normalization_of_rows(kind: str, shape: tuple[int, ...]) -> None:
    if kind == "instance_norm" and len(shape) == 1:
        return
    x, axes = 3 + 2 * drawn(4, *shape), tuple(range(1, len(shape) + 1))
    ours = alone(shape, {"type": kind, "epsilon": 0.01, **({"groups": 3} if kind == "group_norm" else {})})
    scale, shift = (drawn(*(shape if kind == "layer_norm" else (6,)), seed=seed) for seed in (1, 2))
    put(ours, weight=scale, bias=shift)
    if kind == "layer_norm":  # Keras normalises the last axis alone unless it is told
        theirs = layers.LayerNormalization(axis=axes, epsilon=0.01)
    else:
        theirs = layers.GroupNormalization(3 if kind == "group_norm" else -1, axis=1, epsilon=0.01)
    theirs.build(x.shape)
    theirs.set_weights([scale.numpy(), shift.numpy()])
    agree(ours(x), theirs(x))


def recurrent_weights(kind: str, cell: nn.Module, way: str = "") -> list[Any]:
    """Return Keras' [kernel, recurrent kernel, bias]: gates of `gru` in its order, two biases of torch's as one."""
    units = cell.get_parameter(f"weight_hh_l0{way}").shape[1]
    order = {"gru": [1, 0, 2]}.get(kind, list(range(4 if kind == "lstm" else 1)))  # Keras: update, reset, candidate

    def gates(name: str) -> Tensor:
        values = cell.get_parameter(name + "_l0" + way).detach()
        return torch.cat([values[g * units : (g + 1) * units] for g in order]).movedim(0, -1)

    inner, state = gates("bias_ih"), gates("bias_hh")
    bias = torch.stack([inner, state]) if kind == "gru" else inner + state
    return [gates("weight_ih").numpy(), gates("weight_hh").numpy(), bias.numpy()]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("kind", "peer"), [("simple_rnn", "SimpleRNN"), ("lstm", "LSTM"), ("gru", "GRU")])
def test_recurrent(kind: str, peer: str, whole: bool, bidirectional: bool) -> None:
    x = drawn(3, 7, 4)
    random = {"initializer": {"type": "normal", "std": 0.5}, "bias_initializer": {"type": "normal", "std": 0.5}}
    body = {"type": kind, "units": 5, "return_sequences": whole, "bidirectional": bidirectional, **random}
    ours = alone((7, 4), body)
    cell = ours.get_submodule("cell")
    theirs = getattr(layers, peer)(5, return_sequences=whole)  # reset_after is Keras' default, and torch's way
    theirs = layers.Bidirectional(theirs) if bidirectional else theirs
    theirs.build(x.shape)
    ways = ["", "_reverse"] if bidirectional else [""]
    theirs.set_weights([weight for way in ways for weight in recurrent_weights(kind, cell, way)])
    agree(ours(x), theirs(x))


def test_rearranging() -> None:
    x = drawn(2, 3, 4, 6)
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"type": "zero_pad", "size": 2}, layers.ZeroPadding2D(2)),
        ({"type": "upsample", "factor": 3}, layers.UpSampling2D(3)),
        ({"type": "upsample", "factor": 2, "mode": "linear"}, layers.UpSampling2D(2, interpolation="bilinear")),
    ]
    for body, theirs in cases:
        agree(last(alone((3, 4, 6), body)(x)), theirs(last(x)))
    agree(alone((3, 4, 6), {"type": "permute", "axes": [2, 0, 1]})(x), layers.Permute((3, 1, 2))(x))
    agree(alone((3, 4, 6), {"type": "reshape", "shape": [8, 9]})(x), layers.Reshape((8, 9))(x))
    agree(alone((3, 4, 6), {"type": "flatten"})(x), layers.Flatten()(x))


@pytest.mark.parametrize("kind", ["dropout", "spatial_dropout", "alpha_dropout", "gaussian_noise"])
def test_what_is_random_is_the_identity_in_prediction(kind: str) -> None:
    x = drawn(2, 3, 4, 6)
    body = {"type": kind, "std": 0.3} if kind == "gaussian_noise" else {"type": kind, "rate": 0.3}
    peers = {"dropout": "Dropout", "spatial_dropout": "SpatialDropout2D", "alpha_dropout": "AlphaDropout"}
    theirs = getattr(layers, peers.get(kind, "GaussianNoise"))(0.3)
    agree(last(alone((3, 4, 6), body)(x)), theirs(last(x), training=False))
