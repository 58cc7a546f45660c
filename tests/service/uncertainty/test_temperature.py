"""Temperatures against SciPy, on logits that are known to be too sure or not sure enough."""

import numpy as np
import pytest
import torch
from scipy import optimize, special

from service.blocks.losses import BinaryCrossEntropy, CrossEntropy
from service.uncertainty.temperature import PRIOR_STD, fit_temperature, tempered

ROWS = 400


def draws(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def surprise(temperature: float, logits: np.ndarray, truth: np.ndarray) -> float:
    """Minus the log-likelihood of the mean probabilities."""
    p = special.softmax(logits / temperature, axis=-1).mean(0)
    return float(-np.log(p[np.arange(len(truth)), truth]).sum())


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_likeliest_one(factor: float) -> None:
    source = draws(1)
    true = source.normal(size=(ROWS, 4)) * 1.5
    truth = np.array([source.choice(4, p=p) for p in special.softmax(true, axis=1)])
    logits = (true + source.normal(size=(20, ROWS, 4)) * 0.3) * factor
    found = fit_temperature(CrossEntropy(), torch.from_numpy(logits), torch.from_numpy(truth)).item()

    def penalised(log_temperature: float) -> float:
        return surprise(np.exp(log_temperature), logits, truth) + (log_temperature / PRIOR_STD) ** 2 / 2

    expected = np.exp(optimize.minimize_scalar(penalised, bounds=(-3, 3), method="bounded").x)
    assert found == pytest.approx(expected, rel=1e-3)
    assert found == pytest.approx(factor, rel=0.25)
    assert surprise(found, logits, truth) <= surprise(1.0, logits, truth)


def test_a_few_rows_that_are_all_right_do_not_make_it_certain() -> None:
    logits = torch.eye(3).repeat(3, 1).unsqueeze(0) * 5
    found = fit_temperature(CrossEntropy(), logits, torch.arange(3).repeat(3))
    assert 0.5 < found.item() < 1.0


@pytest.mark.parametrize("seed", range(5))
def test_it_never_makes_the_likelihood_less(seed: int) -> None:
    source = draws(seed)
    logits, truth = source.normal(size=(5, 30, 3)) * source.uniform(0.1, 10), source.integers(0, 3, 30)
    found = fit_temperature(CrossEntropy(), torch.from_numpy(logits), torch.from_numpy(truth)).item()
    assert surprise(found, logits, truth) <= surprise(1.0, logits, truth)


def test_every_label_has_a_temperature_of_its_own() -> None:
    source = draws(3)
    true = source.normal(size=(ROWS, 3)) * 2
    truth = (source.random((ROWS, 3)) < special.expit(true)).astype(np.float32)
    loss = BinaryCrossEntropy(multi_label=True)
    outputs = torch.from_numpy(true * np.array([0.5, 1.0, 3.0]))[None]
    found = fit_temperature(loss, outputs, torch.from_numpy(truth))
    np.testing.assert_allclose(found, [0.5, 1.0, 3.0], rtol=0.3)
    np.testing.assert_allclose(
        tempered(loss, found)(outputs), special.expit(outputs.numpy() / found.numpy()), rtol=1e-9
    )


def test_the_one_logit_of_two_classes_is_tempered_too() -> None:
    source = draws(4)
    true = source.normal(size=(ROWS, 1)) * 2
    truth = (source.random(ROWS) < special.expit(true[:, 0])).astype(np.int64)
    found = fit_temperature(BinaryCrossEntropy(), torch.from_numpy(true * 3)[None], torch.from_numpy(truth))
    assert found.shape == (1,) and found.item() == pytest.approx(3.0, rel=0.3)


def test_without_a_temperature_it_is_the_link_itself() -> None:
    loss = CrossEntropy()
    assert tempered(loss, None) == loss.link
