"""Initializers: fans, moments and limits."""

import math

import pytest
import torch
from pydantic import ValidationError

from service.blocks.initializers import Initializer, Uniform
from service.blocks.scaled_initializers import fans

FAN_IN, FAN_OUT = 200, 400
VARIANCES = {"glorot": 2 / (FAN_IN + FAN_OUT), "he": 2 / FAN_IN, "lecun": 1 / FAN_IN}


def drawn(name: str, *shape: int, **fields: float) -> torch.Tensor:
    weight = torch.empty(*shape)
    Initializer.members()[name].model_validate(fields).fill(weight, torch.Generator().manual_seed(0))
    return weight


@pytest.mark.parametrize(
    ("shape", "expected"), [((7, 5), (5, 7)), ((8, 3, 5, 2), (30, 80)), ((8, 3, 4), (12, 32)), ((9,), (9, 9))]
)
def test_fans_are_those_of_torch(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    weight = torch.empty(shape)
    assert fans(weight) == expected
    if len(shape) > 1:
        assert fans(weight) == torch.nn.init._calculate_fan_in_and_fan_out(weight)


@pytest.mark.parametrize("name", ["glorot_normal", "he_normal", "lecun_normal"])
def test_normal_ones_have_their_variance(name: str) -> None:
    weight = drawn(name, FAN_OUT, FAN_IN)
    assert weight.mean().item() == pytest.approx(0, abs=2e-3)
    assert weight.var().item() == pytest.approx(VARIANCES[name.split("_")[0]], rel=0.03)
    assert (weight / weight.std()).pow(4).mean().item() == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("name", ["glorot_uniform", "he_uniform", "lecun_uniform"])
def test_uniform_ones_have_their_variance_and_fill_up_to_the_limit(name: str) -> None:
    weight = drawn(name, FAN_OUT, FAN_IN)
    variance = VARIANCES[name.split("_")[0]]
    assert weight.var().item() == pytest.approx(variance, rel=0.03)
    limit = math.sqrt(3 * variance)
    assert 0.999 * limit < weight.abs().max().item() <= limit


def test_convolution_kernels_count_their_places() -> None:
    assert drawn("he_normal", 64, 16, 5, 5).var().item() == pytest.approx(2 / (16 * 25), rel=0.05)


def test_plain_ones_are_what_their_fields_say() -> None:
    assert (drawn("zeros", 3, 4) == 0).all()
    assert (drawn("constant", 3, 4, value=0.25) == 0.25).all()
    normal = drawn("normal", 300, 300, mean=2.0, std=0.5)
    assert (normal.mean().item(), normal.std().item()) == (pytest.approx(2, abs=0.01), pytest.approx(0.5, rel=0.02))
    uniform = drawn("uniform", 300, 300, low=1.0, high=3.0)
    assert uniform.min() >= 1 and uniform.max() <= 3
    assert uniform.mean().item() == pytest.approx(2, abs=0.01)


def test_uniform_needs_room() -> None:
    with pytest.raises(ValidationError, match="low must be below high"):
        Uniform(low=1.0, high=1.0)
