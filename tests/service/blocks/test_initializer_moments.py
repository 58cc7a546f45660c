"""The distribution of every initializer, in dense and convolution kernels: moments, limits and exact rules."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from service.blocks.initializers import Initializer
from tests.service.blocks.test_every_block import smallest
from tests.support.networks import alone

SHAPES = {"dense": (400, 250), "conv1d": (200, 100, 5), "conv2d": (64, 32, 5, 10)}
"""Kernels [out, in, *kernel] of about 100,000 weights, whose variance deviates by less than half a percent."""
FANS = {"dense": (250, 400), "conv1d": (500, 1000), "conv2d": (1600, 3200)}


@dataclass(frozen=True)
class Moments:
    """What a distribution is known by; the limit is the largest distance from the mean."""

    variance: float
    kurtosis: float
    limit: float = math.inf
    mean: float = 0.0


def normal(variance: float, mean: float = 0.0) -> Moments:
    return Moments(variance, 3.0, mean=mean)


def uniform(variance: float, mean: float = 0.0) -> Moments:
    return Moments(variance, 1.8, math.sqrt(3 * variance), mean)


def truncated(std: float, mean: float = 0.0) -> Moments:
    """Return the moments of a Gaussian cut off at two deviations; its own deviation is 0.88 of that before."""
    density = math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2))
    second, fourth = 1 - 2 * 2 * density, 3 - 2 * (2**3 + 3 * 2) * density
    return Moments(second * std**2, fourth / second**2, 2 * std, mean)


RANDOM: list[tuple[str, dict[str, Any], Callable[[int, int], Moments]]] = [
    ("normal", {}, lambda i, o: normal(0.05**2)),
    ("normal", {"mean": 2.0, "std": 0.5}, lambda i, o: normal(0.25, 2.0)),
    ("uniform", {}, lambda i, o: uniform(0.1**2 / 12)),
    ("uniform", {"low": 1.0, "high": 4.0}, lambda i, o: uniform(9 / 12, 2.5)),
    ("truncated_normal", {}, lambda i, o: truncated(0.05)),
    ("truncated_normal", {"mean": -1.0, "std": 0.2}, lambda i, o: truncated(0.2, -1.0)),
    ("glorot_normal", {}, lambda i, o: normal(2 / (i + o))),
    ("glorot_uniform", {}, lambda i, o: uniform(2 / (i + o))),
    ("he_normal", {}, lambda i, o: normal(2 / i)),
    ("he_uniform", {}, lambda i, o: uniform(2 / i)),
    ("lecun_normal", {}, lambda i, o: normal(1 / i)),
    ("lecun_uniform", {}, lambda i, o: uniform(1 / i)),
    ("variance_scaling", {}, lambda i, o: normal(1 / i)),
    ("variance_scaling", {"scale": 3.0, "mode": "fan_out"}, lambda i, o: normal(3 / o)),
    (
        "variance_scaling",
        {"scale": 0.5, "mode": "fan_avg", "distribution": "uniform"},
        lambda i, o: uniform(0.5 / ((i + o) / 2)),
    ),
]
EXACT = {"zeros", "ones", "constant", "orthogonal", "identity"}
"""Those that a test below says the values or the products of."""


def filled(name: str, fields: dict[str, Any], *shape: int) -> Tensor:
    weight = torch.empty(shape)
    block = Initializer.members()[name]
    block.model_validate({**smallest(block), **fields}).fill(weight, torch.Generator().manual_seed(7))
    return weight


@pytest.mark.parametrize("name", Initializer.members())
def test_is_described_here(name: str) -> None:
    described = EXACT | {name for name, *_ in RANDOM}
    assert name in described, f"nothing here says how {name} is distributed: add it to RANDOM, or to EXACT with a test"


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(
    ("name", "fields", "moments"), RANDOM, ids=[f"{name}{fields or ''}" for name, fields, _ in RANDOM]
)
def test_has_its_moments(name: str, fields: dict[str, Any], moments: Callable[[int, int], Moments], kind: str) -> None:
    weight, expected = filled(name, fields, *SHAPES[kind]), moments(*FANS[kind])
    deviation = math.sqrt(expected.variance)
    centred = (weight.double() - expected.mean) / deviation
    # Six deviations of each estimate, and exact limits up to rounding.
    assert centred.mean().item() == pytest.approx(0, abs=6 / math.sqrt(weight.numel()))
    assert centred.square().mean().item() == pytest.approx(1, abs=6 * math.sqrt(2 / weight.numel()))
    assert centred.pow(4).mean().item() == pytest.approx(expected.kurtosis, abs=6 * math.sqrt(96 / weight.numel()))
    largest = centred.abs().max().item()
    if expected.limit < math.inf:
        assert 0.999 < largest * deviation / expected.limit < 1.00001
    else:
        assert 3.5 < largest < 7
    along = centred.flatten(1)
    for axis in (0, 1):  # no row and no column is another's
        assert along.mean(axis).var().item() == pytest.approx(1 / along.shape[axis], rel=0.5)


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (4, 2, 3, 3), (20, 2, 3)])
@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_orthogonal_rows_or_columns_have_length_gain_and_right_angles(shape: tuple[int, ...], gain: float) -> None:
    matrix = filled("orthogonal", {"gain": gain}, *shape).flatten(1)
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    torch.testing.assert_close(wide @ wide.T, gain**2 * torch.eye(len(wide)), atol=1e-5, rtol=1e-5)


def test_no_orthogonal_matrix_is_likelier_than_another() -> None:
    matrix = filled("orthogonal", {}, 200, 200)
    assert (200 * matrix.double().square()).square().mean().item() == pytest.approx(3, abs=0.3)
    # The trace of a random rotation has mean 0 and variance 1; what a bare QR decomposition gives has one of -22.
    assert abs(matrix.trace().item()) < 5


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ({"type": "dense", "units": 5}, (5,)),
        ({"type": "conv1d", "filters": 3, "kernel_size": 3, "padding": "same"}, (3, 8)),
        ({"type": "conv2d", "filters": 3, "kernel_size": [3, 5], "padding": "same"}, (3, 6, 8)),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_identity_passes_the_input_on(body: dict[str, Any], shape: tuple[int, ...]) -> None:
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    layer = alone(shape, {**body, "initializer": {"type": "identity", "gain": 2.0}})
    torch.testing.assert_close(layer(x), 2 * x)


@pytest.mark.parametrize(
    ("name", "fields", "value"), [("zeros", {}, 0), ("ones", {}, 1), ("constant", {"value": 0.25}, 0.25)]
)
def test_constants_are_what_they_say(name: str, fields: dict[str, Any], value: float) -> None:
    for shape in SHAPES.values():
        assert (filled(name, fields, *shape) == value).all()


@pytest.mark.parametrize(
    ("body", "shape", "fan_in"),
    [
        ({"type": "dense", "units": 500}, (200,), 200),
        ({"type": "conv2d", "filters": 100, "kernel_size": 5}, (40, 5, 5), 40 * 25),
        ({"type": "conv2d", "filters": 400, "kernel_size": 5, "groups": 4}, (40, 5, 5), 10 * 25),
        ({"type": "conv3d", "filters": 200, "kernel_size": 3}, (20, 3, 3, 3), 20 * 27),
    ],
    ids=["dense", "conv2d", "groups", "conv3d"],
)
def test_a_layer_counts_the_inputs_that_a_unit_sees(body: dict[str, Any], shape: tuple[int, ...], fan_in: int) -> None:
    kernel = alone(shape, {**body, "initializer": "he_normal", "bias_initializer": "zeros"}).get_parameter(
        "kernel.weight"
    )
    assert kernel.var().item() == pytest.approx(2 / fan_in, rel=6 * math.sqrt(2 / kernel.numel()))
