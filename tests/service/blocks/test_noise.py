"""Masks: unbiased, independent, and functions of seed, step and layer."""

from itertools import pairwise

import pytest
import torch

from service.blocks.noise import TURNS_AT_ONCE, VALUES_AT_ONCE, StepNoise, bits16, keep_mask, turns_at_once

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


def test_steps_drawn_together_are_each_what_they_are_alone() -> None:
    shape, steps = (6, 5), range(60, 70)  # across the end of a block
    assert steps[0] < TURNS_AT_ONCE < steps[-1]
    alone = [StepNoise(1, step, CPU).mask(2, shape, 0.3) for step in steps]
    noise = StepNoise(1, 0, CPU)
    for order in (range(10), reversed(range(10)), (3, 9, 0, 4)):
        for place in order:
            noise.step = steps[place]
            assert torch.equal(noise.mask(2, shape, 0.3), alone[place])
    assert not any(torch.equal(a, b) for a, b in pairwise(alone))


def test_a_mask_is_that_of_the_bits() -> None:
    for rate in (0.1, 0.5):
        noise = StepNoise(1, 3, CPU)
        assert torch.equal(noise.mask(2, (64, 4), rate), keep_mask(noise.bits(2, (64, 4)), rate))


def test_the_parts_of_a_step_are_turns_of_their_own() -> None:
    drawn = [StepNoise(0, step, CPU, part, parts=3).bits(0, (64, 4)) for step in range(2) for part in range(3)]
    assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])
    noise = StepNoise(0, 1, CPU, parts=3)
    noise.part = 2
    assert torch.equal(noise.bits(0, (64, 4)), drawn[-1])


def test_a_short_last_batch_shares_no_values_with_a_full_one() -> None:
    full, short = (StepNoise(0, 4, CPU).bits(0, shape).flatten() for shape in ((64, 4), (40, 4)))
    assert not torch.equal(full[: len(short)], short)


@pytest.mark.parametrize("rows", [1, 100, 10_000, 1_000_000])
def test_large_batches_are_drawn_by_themselves(rows: int) -> None:
    together = turns_at_once((rows, 10))
    assert 1 <= together <= TURNS_AT_ONCE
    assert together == 1 or together * rows * 10 <= VALUES_AT_ONCE


def test_masks_of_a_block_keep_as_much_as_they_say() -> None:
    noise, rate, shape = StepNoise(7, 0, CPU), 0.2, (32, 128)
    kept = 0
    for step in range(128):
        noise.step = step
        kept += int((noise.mask(0, shape, rate) > 0).sum())
    count = 128 * 32 * 128
    # Five standard errors.
    assert abs(kept / count - 0.8) < 5 * (0.8 * 0.2 / count) ** 0.5 + 1 / 65536
