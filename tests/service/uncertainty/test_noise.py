"""The masks of samples: which statistics they have, and what they may depend on."""

import threading
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from service.blocks.noise import keep_mask
from service.randomness import derive
from service.uncertainty.noise import KEPT_VALUES, SampleNoise, ThreadNoise

CPU = torch.device("cpu")


def draw(first: int, count: int, *shape: int, seed: int = 7, key: int = 0) -> Tensor:
    return SampleNoise(seed, first, count, CPU).bits(key, (count, *shape))


@pytest.mark.parametrize("shape", [(1,), (5,), (16,), (17,), (128,), (4096,), (16, 9, 9), (KEPT_VALUES + 3,)], ids=str)
def test_a_sample_does_not_depend_on_how_many_are_drawn_or_from_where(shape: tuple[int, ...]) -> None:
    whole = draw(0, 150 if torch.Size(shape).numel() < KEPT_VALUES else 9, *shape)
    for first, count in [(0, 1), (3, 2), (5, 4), (62, 5), (64, 64), (127, 2), (149, 1)]:
        if first + count <= len(whole):
            assert torch.equal(draw(first, count, *shape), whole[first : first + count])


def test_the_first_samples_of_a_longer_run_are_those_of_a_shorter_one() -> None:
    longer = draw(0, 1000, 33)
    for count in (1, 2, 63, 64, 65, 999):
        assert torch.equal(draw(0, count, 33), longer[:count])


def test_all_rows_of_a_sample_share_its_mask() -> None:
    alone = draw(2, 3, 17)
    shared = SampleNoise(7, 2, 3, CPU).bits(0, (12, 17))
    assert shared.shape == (12, 17)
    assert torch.equal(shared.view(3, 4, 17), alone.unsqueeze(1).expand(3, 4, 17))


def test_one_sample_broadcasts_over_its_rows() -> None:
    bits = SampleNoise(7, 4, 1, CPU).bits(0, (1000, 17))
    assert bits.shape == (1, 17)
    assert torch.equal(bits, draw(4, 1, 17))


@pytest.mark.parametrize("inner", [(17,), (3, 5, 4), (KEPT_VALUES + 3,)], ids=str)
@pytest.mark.parametrize(("count", "rows"), [(1, 1), (1, 6), (4, 1), (4, 6)])
def test_values_are_thinned_as_by_the_mask_of_their_shape(inner: tuple[int, ...], count: int, rows: int) -> None:
    noise, x = SampleNoise(7, 2, count, CPU), torch.randn(count * rows, *inner)
    thinned = noise.thinned(x, 1, 0.3)
    assert thinned.shape == x.shape
    assert torch.equal(thinned, x * noise.mask(1, tuple(x.shape), 0.3))
    images = x if x.ndim < 4 else x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(noise.thinned(images, 1, 0.3), thinned)


def test_seeds_layers_and_samples_differ() -> None:
    drawn = [draw(0, 2, 64, seed=seed, key=key) for seed in (0, 1, 2**63 - 1) for key in (0, 1)]
    flat = [sample for pair in drawn for sample in pair]
    assert all(not torch.equal(a, b) for a, b in combinations(flat, 2))


def test_the_same_arguments_give_the_same_bits() -> None:
    assert torch.equal(draw(10, 90, 64), draw(10, 90, 64))


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 0.9])
def test_the_rate_is_that_of_a_binomial(rate: float) -> None:
    mask = keep_mask(draw(0, 2000, 100), rate)
    # 200,000 values: five standard deviations of the share of zeros.
    assert abs((mask == 0).float().mean().item() - rate) < 5 * (rate * (1 - rate) / mask.numel()) ** 0.5
    assert mask.mean().item() == pytest.approx(1.0, abs=5 * (rate / (1 - rate) / mask.numel()) ** 0.5)
    assert mask.max().item() == pytest.approx(1 / (1 - rate), rel=1e-4)


def test_the_rate_holds_for_every_unit_and_every_sample() -> None:
    dropped = (keep_mask(draw(0, 2000, 100), 0.2) == 0).double()
    # Six standard deviations: 2,100 means are looked at.
    assert (dropped.mean(0) - 0.2).abs().max().item() < 6 * (0.16 / 2000) ** 0.5
    assert (dropped.mean(1) - 0.2).abs().max().item() < 6 * (0.16 / 100) ** 0.5


def correlation(a: Tensor, b: Tensor) -> float:
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1].item()


def test_layers_seeds_units_and_samples_are_independent() -> None:
    masks = {(s, k): keep_mask(draw(0, 2000, 50, seed=s, key=k), 0.3) for s in (0, 1) for k in (0, 1, 2)}
    limit = 5 / 100_000**0.5
    assert all(abs(correlation(a, b)) < limit for a, b in combinations(masks.values(), 2))
    mask = masks[0, 0]
    neighbours = [correlation(mask[:-1], mask[1:]), correlation(mask[:, :-1], mask[:, 1:])]
    halves = correlation(mask[:1000], mask[1000:])
    assert max(map(abs, neighbours)) < limit
    assert abs(halves) < 5 / 50_000**0.5


@pytest.mark.parametrize("first", [0, 61])
def test_bits_are_those_of_a_generator_of_their_own_whatever_was_drawn_before(first: int) -> None:
    draw(5, 3, 7, seed=1)
    key, generator = derive(7, "predict", 2), np.random.PCG64DXSM(0)
    generator.state = {**generator.state, "state": {"state": key << 64 | key, "inc": key << 1 | 1}}
    generator.random_raw(first * 9)
    bits = generator.random_raw(4 * 9).view(np.int16).reshape(4, 36)[:, :33]
    for _ in range(3):  # drawn, kept and found
        assert np.array_equal(draw(first, 4, 33, key=2).numpy(), bits)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.9999, 1 - 1e-9])
def test_a_mask_is_what_keep_mask_makes_of_the_bits(rate: float) -> None:
    for _ in range(3):
        mask = SampleNoise(7, 3, 50, CPU).mask(1, (50, 2, 33), rate)
        assert mask.dtype == torch.float32
        assert torch.equal(mask, keep_mask(draw(3, 50, 2, 33, key=1), rate))


def test_bits_are_uniform() -> None:
    counts = torch.bincount((draw(0, 4000, 64).flatten().int() + 32768) // 1024, minlength=64).double()
    expected = counts.sum() / 64
    # Chi-squared with 63 degrees of freedom: 150 has a probability below 1e-8.
    assert ((counts - expected).square() / expected).sum().item() < 150


def test_every_thread_has_its_own_noise() -> None:
    noise, barrier, seen = ThreadNoise(), threading.Barrier(2), {}

    def ask(seed: int) -> None:
        noise.current = SampleNoise(seed, 0, 4, CPU)
        barrier.wait(10)
        seen[seed] = noise.bits(0, (4, 8))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(seen[seed], draw(0, 4, 8, seed=seed)) for seed in (1, 2))
    with pytest.raises(RuntimeError, match="without noise"):
        noise.bits(0, (4, 8))
