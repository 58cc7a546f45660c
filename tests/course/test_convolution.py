"""Convolution and pooling: examples worked by hand, and the formulas for sizes and counts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.networks import alone, build, put

IMAGE = [[1, 2, 1, 0], [0, 2, 1, 2], [1, 2, 1, 2], [1, 2, 1, 1]]
KERNEL = [[1, -1, 1], [0, 1, 0], [1, 1, -1]]
CONVOLVED = [[-1, 3, 2, 3], [0, 4, 3, 6], [2, 3, 6, 3], [2, 2, 4, 0]]
NINE = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
SIXTEEN = torch.arange(1, 17).view(4, 4).tolist()


def batch(image: list[list[int]]) -> torch.Tensor:
    return torch.tensor(image, dtype=torch.float32)[None, None]


def convolved(kernel: torch.Tensor) -> list[list[float]]:
    layer = {"type": "conv2d", "filters": 1, "kernel_size": 3, "stride": 1, "padding": 1}
    network = build((1, 4, 4), layer, "flatten", outputs=16)
    put(network, weight=kernel[None, None], bias=[0])
    values: list[list[float]] = network(batch(IMAGE)).view(4, 4).tolist()
    return values


def test_convolution_with_zero_padding_slides_the_kernel_as_it_is_written() -> None:
    kernel = torch.tensor(KERNEL)
    assert convolved(kernel) == CONVOLVED
    assert convolved(kernel.flip(0, 1)) != CONVOLVED  # mathematics' convolution, which flips, is another thing


@pytest.mark.parametrize(
    ("image", "pool", "stride", "expected"), [(NINE, 2, 1, [[5, 6], [8, 9]]), (SIXTEEN, 2, 2, [[6, 8], [14, 16]])]
)
def test_max_pooling(image: list[list[int]], pool: int, stride: int, expected: list[list[int]]) -> None:
    layer = {"type": "max_pool2d", "pool_size": pool, "stride": stride}
    network = build((1, len(image), len(image)), layer, "flatten", outputs=4)
    assert network(batch(image)).view(2, 2).tolist() == expected


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 6))
def test_a_pooled_size_is_its_formula(height: int, window: int, stride: int) -> None:
    height = max(height, window)
    for kind in ("max_pool1d", "average_pool1d"):
        layer = {"type": kind, "pool_size": window, "stride": stride}
        (record, *_) = build((2, height), layer).records
        assert record.output_shape == (2, (height - window) // stride + 1)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 3), st.integers(1, 6))
def test_a_convolved_size_is_its_formula(width: int, kernel: int, padding: int, stride: int) -> None:
    width = max(width, kernel)
    layer = {"type": "conv2d", "filters": 3, "kernel_size": [kernel, 1], "padding": [padding, 0], "stride": [stride, 1]}
    (record, *_) = build((1, width, 2), layer).records
    assert record.output_shape == (3, (width - kernel + 2 * padding) // stride + 1, 2)


@pytest.mark.parametrize(("size", "channels", "filters"), [(3, 3, 32), (5, 1, 6), (1, 4, 2)])
def test_a_kernel_has_one_plane_for_every_channel_and_filter(size: int, channels: int, filters: int) -> None:
    layer = alone((channels, 8, 8), {"type": "conv2d", "filters": filters, "kernel_size": size})
    assert sum(p.numel() for p in layer.parameters()) == size * size * channels * filters + filters


def test_a_kernel_written_height_width_channels_filters_is_ours_permuted() -> None:
    draw = torch.Generator().manual_seed(0)
    kernel, x = torch.randn(3, 2, 4, 5, generator=draw), torch.randn(1, 4, 6, 6, generator=draw)
    layer = alone((4, 6, 6), {"type": "conv2d", "filters": 5, "kernel_size": [3, 2]})
    put(layer, weight=kernel.permute(3, 2, 0, 1), bias=torch.zeros(5))
    # y[n, i, j] = sum over h, w, c of k[h, w, c, n] * x[c, i + h, j + w]
    windows = x[0].unfold(1, 3, 1).unfold(2, 2, 1)
    torch.testing.assert_close(layer(x)[0], torch.einsum("cijhw,hwcn->nij", windows, kernel))


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_stacked_three_by_three_kernels_see_two_places_more_each(depth: int) -> None:
    size, side = 13, 2 * depth + 1
    layers = [{"type": "conv2d", "filters": 1, "kernel_size": 3, "padding": "same", "initializer": "ones"}] * depth
    network = build((1, size, size), *layers, "flatten", outputs=size * size)
    x = torch.zeros(1, 1, size, size, requires_grad=True)
    network(x)[0, size * size // 2].backward()
    assert x.grad is not None
    seen = x.grad[0, 0].nonzero()
    assert len(seen) == side * side
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [side, side]


def test_two_small_kernels_have_fewer_weights_than_a_large_one_that_sees_as_much() -> None:
    def weights(size: int, count: int) -> int:
        layers = [{"type": "conv2d", "filters": 8, "kernel_size": size, "use_bias": False}] * count
        return sum(
            p.numel() for record in build((8, 9, 9), *layers).records[:count] for p in record.module.parameters()
        )

    assert weights(3, 2) == 18 * 8 * 8 < weights(5, 1) == 25 * 8 * 8
