"""Uncertainty against NumPy formulae, and at its edges."""

import numpy as np
import pytest
import torch
from torch import Tensor

from service.randomness import generator
from service.uncertainty.samples import ClassSamples, LabelSamples, Moments, ValueSamples, entropy, quantiles


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed, "numbers")) * scale


def softmax(x: Tensor) -> Tensor:
    return x.softmax(-1)


def same(x: Tensor) -> Tensor:
    return x


@pytest.mark.parametrize("parts", [[20], [1] * 20, [1, 7, 12], [19, 1]], ids=str)
def test_moments_do_not_depend_on_the_parts(parts: list[int]) -> None:
    values = numbers(20, 3, 2).double()
    moments = Moments()
    for part in values.split(parts):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, values.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.std, values.numpy().std(0), rtol=1e-12)


def test_moments_keep_a_small_spread_around_a_large_mean() -> None:
    values = numbers(64, 5).double() * 1e-3 + 1e9
    moments = Moments()
    for part in values.split(1):
        moments.add(part)
    np.testing.assert_allclose(moments.std, values.numpy().std(0), rtol=1e-3)


def test_one_sample_is_its_own_mean_without_spread() -> None:
    moments, value = Moments(), numbers(1, 4).double()
    moments.add(value)
    assert torch.equal(moments.mean, value[0]) and torch.equal(moments.std, torch.zeros(4).double())


def test_entropy_of_certainty_is_nothing_and_of_ignorance_ln_k() -> None:
    p = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25] * 4, [0.5, 0.5, 0.0, 0.0]]).double()
    np.testing.assert_allclose(entropy(p), [0.0, np.log(4), np.log(2)], rtol=1e-15)
    assert not torch.signbit(entropy(p)).any(), "certainty is 0, not -0"


@pytest.mark.parametrize("parts", [[30], [1] * 30, [7, 23]], ids=str)
def test_classes_against_numpy(parts: list[int]) -> None:
    outputs = numbers(30, 4, 5, scale=2.0)
    samples = ClassSamples(softmax, keep=True)
    for part in outputs.split(parts):
        samples.add(part)
    found = samples.result()
    logits = outputs.double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    predictive = -(p.mean(0) * np.log(p.mean(0))).sum(-1)
    expected = -(p * np.log(p)).sum(-1).mean(0)
    np.testing.assert_allclose(found.probabilities, p.mean(0), rtol=1e-10)
    np.testing.assert_allclose(found.probabilities_std, p.std(0), rtol=1e-10)
    np.testing.assert_allclose(found.predictive_entropy, predictive, rtol=1e-10)
    np.testing.assert_allclose(found.expected_entropy, expected, rtol=1e-10)
    np.testing.assert_allclose(found.mutual_information, predictive - expected, rtol=1e-8)
    assert found.samples is not None
    np.testing.assert_allclose(found.samples, p.swapaxes(0, 1), rtol=1e-10)
    assert (found.mutual_information > 0).all()


def test_samples_are_kept_only_when_asked_for() -> None:
    samples = ClassSamples(softmax)
    samples.add(numbers(3, 2, 2))
    assert samples.result().samples is None


def test_samples_that_agree_have_no_mutual_information() -> None:
    samples = ClassSamples(softmax)
    for _ in range(13):
        samples.add(numbers(1, 500, 7, scale=5.0).expand(11, 500, 7))
    found = samples.result()
    assert (found.mutual_information >= 0).all() and found.mutual_information.max() < 1e-14
    assert found.probabilities_std.max() < 1e-14


def test_a_single_pass_is_exactly_certain_of_itself() -> None:
    samples = ClassSamples(softmax)
    samples.add(numbers(1, 500, 7, scale=5.0))
    found = samples.result()
    assert not found.mutual_information.any() and not found.probabilities_std.any()
    assert torch.equal(found.predictive_entropy, found.expected_entropy)


def test_networks_that_contradict_each_other_have_a_bit_of_mutual_information() -> None:
    samples = ClassSamples(softmax)
    samples.add(torch.tensor([[[1000.0, -1000.0]], [[-1000.0, 1000.0]]]))
    found = samples.result()
    np.testing.assert_allclose(found.probabilities, [[0.5, 0.5]])
    np.testing.assert_allclose(found.probabilities_std, [[0.5, 0.5]])
    np.testing.assert_allclose(found.mutual_information, [np.log(2)])
    assert found.expected_entropy.item() == 0.0


def test_probabilities_stay_between_nothing_and_one() -> None:
    samples = ClassSamples(softmax)
    for size in (1, 3, 7, 11):
        samples.add(torch.tensor([40.0, 0.0]).expand(size, 9, 2))
    found = samples.result()
    assert found.probabilities.max() <= 1.0 and found.probabilities.min() >= 0.0


def test_values_come_back_in_their_own_units() -> None:
    outputs = numbers(40, 6, 2)
    samples = ValueSamples(same, lambda x: x * 50.0 + 300.0, [0.05, 0.5, 0.95])
    for part in outputs.split([1, 30, 9]):
        samples.add(part)
    found = samples.result()
    values = outputs.double().numpy() * 50.0 + 300.0
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.std, values.std(0), rtol=1e-10)
    assert torch.equal(found.std, found.epistemic_std) and found.aleatoric_std is None
    np.testing.assert_allclose(found.quantiles, np.quantile(values, [0.05, 0.5, 0.95], axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.samples, values.swapaxes(0, 1), rtol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 50, 101])
def test_quantiles_are_numpys(count: int) -> None:
    values, levels = numbers(count, 3, 2).double(), [0.0, 0.05, 1 / 3, 0.5, 0.95, 1.0]
    np.testing.assert_allclose(quantiles(values, levels), np.quantile(values.numpy(), levels, axis=0), rtol=1e-12)


def test_no_quantiles_are_none() -> None:
    assert quantiles(numbers(9, 3, 2).double(), []).shape == (0, 3, 2)


def test_one_value_has_quantiles_without_spread() -> None:
    samples = ValueSamples(same, same, [0.05, 0.95])
    samples.add(numbers(1, 4, 1))
    found = samples.result()
    assert torch.equal(found.quantiles[0], found.mean) and torch.equal(found.quantiles[1], found.mean)
    assert not found.std.any()


def test_the_variation_ratio_is_the_share_outside_of_the_mode() -> None:
    logits = torch.zeros(5, 2, 3)
    for sample, winner in enumerate([0, 2, 2, 1, 2]):
        logits[sample, :, winner] = 4.0
    logits[:, 1] = torch.tensor([0.0, 9.0, 0.0])
    for parts in ([5], [2, 3], [1] * 5):
        samples = ClassSamples(softmax)
        for part in logits.split(parts):
            samples.add(part)
        assert samples.result().variation_ratio.tolist() == pytest.approx([2 / 5, 0.0])


def test_labels_are_independent_of_each_other() -> None:
    p = numbers(12, 4, 3).double().sigmoid()
    samples = LabelSamples(same)
    for part in p.split([5, 7]):
        samples.add(part)
    found, q = samples.result(), p.numpy()
    binary = -(q * np.log(q) + (1 - q) * np.log(1 - q))
    np.testing.assert_allclose(found.expected_entropy, binary.sum(-1).mean(0), rtol=1e-10)
    votes = (q >= 0.5).mean(0)
    np.testing.assert_allclose(found.variation_ratio, np.minimum(votes, 1 - votes).mean(-1), rtol=1e-12)


def test_doubts_of_several_columns_are_the_largest() -> None:
    samples = ValueSamples(same, same, (), lambda outputs: torch.full_like(outputs, 4.0))
    samples.add(numbers(9, 5, 3))
    found = samples.result()
    assert set(found.doubts) == {"std", "epistemic_std", "aleatoric_std"}
    assert torch.equal(found.doubts["std"], found.std.amax(-1)) and (found.doubts["aleatoric_std"] == 2.0).all()
