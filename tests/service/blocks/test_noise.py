"""Masks: unbiased, independent, and functions of seed, step and layer."""

import pytest
import torch

from service.blocks.noise import StepNoise, bits16, keep_mask

CPU = torch.device("cpu")


def test_bits_cover_the_whole_range_evenly() -> None:
    bits = bits16((1 << 20,), torch.Generator().manual_seed(0)).int() + 32768
    assert (bits.min().item(), bits.max().item()) == (0, 65535)
    counts = torch.bincount(bits // 4096, minlength=16).double()
    expected = (1 << 20) / 16
    # Chi-squared with 15 degrees of freedom stays below 44 but once in ten thousand seeds.
    assert ((counts - expected).square() / expected).sum().item() < 44


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 7)])
def test_bits_have_the_shape_asked_for(shape: tuple[int, ...]) -> None:
    assert bits16(shape, torch.Generator().manual_seed(0)).shape == shape


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 0.999999])
def test_mask_keeps_the_mean(rate: float) -> None:
    every = torch.arange(-32768, 32768, dtype=torch.int16)
    mask = keep_mask(every, rate)
    assert mask.double().mean().item() == pytest.approx(1, rel=1e-6)
    assert (mask == 0).double().mean().item() == pytest.approx(min(rate, 1 - 1 / 65536), abs=1 / 65536)


def test_noise_depends_on_seed_step_and_layer_and_on_nothing_else() -> None:
    def draw(seed: int, step: int, key: int) -> torch.Tensor:
        return StepNoise(seed, step, CPU).bits(key, (64, 4))

    same = draw(1, 2, 3)
    torch.rand(5)
    assert torch.equal(draw(1, 2, 3), same)
    assert not any(torch.equal(draw(*other), same) for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)))
