"""What calibration promises of rows that it has never seen, for every task."""

import math
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from scipy import special

from service.blocks.distribution_losses import GaussianNll
from service.blocks.losses import BinaryCrossEntropy, CrossEntropy, Loss
from service.blocks.value_losses import Mse
from service.data.target import TargetCodec
from service.uncertainty.calibration import Calibration, calibrate
from service.uncertainty.scores import Scores
from service.uncertainty.sets import nonconformity
from service.uncertainty.temperature import fit_temperature
from service.uncertainty.value_noise import fit_deviation

ROWS, NEW, SAMPLES = 400, 20_000, 10


def draws(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def codec(task: Any, columns: int = 1, classes: Any = None, scale: float = 1.0) -> TargetCodec:
    names = tuple("abcdefg"[:columns])
    return TargetCodec(names, task, classes, columns, np.full(columns, 3.0), np.full(columns, scale))


def classified(rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples of logits that are three times too sure, and classes."""
    source = draws(seed)
    true = source.normal(size=(rows, 4)) * 1.5
    noise = source.gumbel(size=true.shape)
    samples = 3 * (true + source.normal(size=(SAMPLES, rows, 4)) * 0.3)
    return torch.from_numpy(samples), torch.from_numpy((true + noise).argmax(1))


def valued(rows: int, seed: int, columns: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples of outputs, and encoded targets whose noise grows from row to row."""
    source = draws(seed)
    true = source.normal(size=(rows, columns))
    y = true + source.standard_t(4, size=true.shape) * 0.5
    return torch.from_numpy(true + source.normal(size=(SAMPLES, rows, columns)) * 0.2), torch.from_numpy(y).float()


def fitted(loss: Loss, target: TargetCodec, outputs: torch.Tensor, y: torch.Tensor) -> Calibration:
    found = calibrate(loss, target, outputs, y, SAMPLES, 0)
    assert found is not None
    return found


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.97])
def test_sets_of_classes_cover_new_rows(coverage: float) -> None:
    target = codec("classification", classes=("a", "b", "c", "d"))
    found = fitted(CrossEntropy(), target, *classified(ROWS, 1))
    assert found.temperature is not None and found.temperature[0] == pytest.approx(3, rel=0.25)
    outputs, truth = classified(NEW, 2)
    p = (outputs / found.temperature[0]).softmax(-1).mean(0)
    covered = nonconformity(p).gather(1, truth[:, None])[:, 0] <= found.threshold(coverage)
    # The coverage of new rows, given 400 validation rows, is itself a draw with this deviation.
    assert covered.double().mean() == pytest.approx(coverage, abs=4 * math.sqrt(coverage * (1 - coverage) / ROWS))


def test_probabilities_are_better_afterwards_and_on_new_rows() -> None:
    target = codec("classification", classes=("a", "b", "c", "d"))
    found = fitted(CrossEntropy(), target, *classified(ROWS, 1))
    for name in ("nll", "brier", "ece"):
        assert found.after[name] < found.before[name]
    assert abs(found.after["coverage"] - 0.9) < abs(found.before["coverage"] - 0.9)
    assert found.before["conformal"] is None and found.after["conformal"]["coverage"] >= 0.9
    outputs, truth = classified(NEW, 2)
    raw, calibrated = (special.softmax(outputs.numpy() / t, -1).mean(0) for t in (1, found.temperatures.item()))
    rows = np.arange(NEW)
    assert -np.log(calibrated[rows, truth]).mean() < -np.log(raw[rows, truth]).mean() - 0.2


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.97])
@pytest.mark.parametrize("columns", [1, 3])
def test_intervals_cover_new_rows_whatever_the_noise_is(coverage: float, columns: int) -> None:
    target, loss = codec("regression", columns, scale=20.0), Mse()
    found = fitted(loss, target, *valued(ROWS, 3, columns))
    assert found.noise_precision is not None and len(found.noise_precision) == columns
    outputs, y = valued(NEW, 4, columns)
    values = torch.from_numpy(target.decode(outputs.numpy()))
    noise = found.noise(loss, target)(outputs)
    assert noise is not None
    std = (values.var(0, unbiased=False) + noise.mean(0)).sqrt()
    truth = torch.from_numpy(target.decode(y.numpy()))
    covered = (truth - values.mean(0)).abs() <= found.threshold(coverage) * std
    error = 4 * math.sqrt(coverage * (1 - coverage) / ROWS)
    np.testing.assert_allclose(covered.double().mean(0), coverage, atol=error)


def test_noise_that_is_fitted_makes_intervals_honest() -> None:
    found = fitted(Mse(), codec("regression", scale=20.0), *valued(ROWS, 3))
    assert found.noise_precision is not None and 8 < found.noise_precision[0] ** -0.5 < 20
    assert found.before["coverage"] < 0.5 < 0.85 < found.after["coverage"] < 0.95
    assert found.after["nll"] < found.before["nll"] and found.after["ece"] < found.before["ece"]
    assert found.after["sharpness"] > found.before["sharpness"]


def test_noise_that_the_network_predicts_gets_a_factor() -> None:
    source = draws(5)
    mean, wide = source.normal(size=(ROWS, 1)), source.uniform(0.2, 2, size=(ROWS, 1))
    y = mean + source.normal(size=mean.shape) * wide
    outputs = np.concatenate([mean, np.log(np.expm1((wide / 3) ** 2))], axis=1)[None]
    found = fitted(GaussianNll(), codec("regression"), torch.from_numpy(outputs), torch.from_numpy(y).float())
    assert found.noise_precision is None
    assert found.noise_factor is not None and found.noise_factor[0] == pytest.approx(3, rel=0.1)
    assert found.after["coverage"] == pytest.approx(0.9, abs=0.05)


def test_every_label_that_holds_is_in_the_set_as_often_as_promised() -> None:
    def labelled(rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        source = draws(seed)
        true = source.normal(size=(rows, 3)) * 2 - np.array([0, 1, 2])
        y = source.random((rows, 3)) < special.expit(true)
        return torch.from_numpy(true * 2)[None], torch.from_numpy(y).float()

    target = codec("multi_label", 3)
    found = fitted(BinaryCrossEntropy(multi_label=True), target, *labelled(2 * ROWS, 6))
    assert found.temperature is not None and len(found.temperature) == 3
    outputs, y = labelled(NEW, 7)
    inside = nonconformity(torch.sigmoid(outputs[0] / found.temperatures)) <= found.threshold(0.9)
    for label in range(3):
        assert inside[y[:, label] > 0, label].double().mean() == pytest.approx(0.9, abs=0.08)


def test_a_label_that_no_row_has_is_never_ruled_out() -> None:
    outputs, y = torch.zeros(1, 30, 2).double(), torch.zeros(30, 2)
    y[:20, 0] = 1
    found = fitted(BinaryCrossEntropy(multi_label=True), codec("multi_label", 2), outputs, y)
    assert found.threshold(0.9).tolist()[1] == math.inf and found.threshold(0.9)[0] < 1
    orjson.dumps(found.to_json())


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_calibration_is_the_same_behind_json_and_when_done_again(task: str) -> None:
    if task == "regression":
        given: Any = (Mse(), codec(task), *valued(ROWS, 3))
    else:
        given = (CrossEntropy(), codec(task, classes=("a", "b", "c", "d")), *classified(ROWS, 1))
    found = fitted(*given)
    written = orjson.dumps(found.to_json())
    assert Calibration.from_json(orjson.loads(written)) == found == fitted(*given)
    assert len(written) < 100_000


def test_what_is_fitted_has_all_samples_and_what_is_answered_as_many_as_predictions() -> None:
    outputs, y = valued(ROWS, 3)
    target, loss = codec("regression", scale=20.0), Mse()
    few, many = (calibrate(loss, target, outputs[:count], y, 4, 0) for count in (4, SAMPLES))
    assert few is not None and many is not None
    truth, values = (torch.from_numpy(target.decode(x.numpy())) for x in (y, outputs.double()))
    assert many.noise_precision == pytest.approx(fit_deviation(truth, values).pow(-2).tolist())
    assert many.noise_precision != few.noise_precision
    assert many.before == few.before and (many.mc_samples, many.rows) == (4, ROWS)
    noise = many.noise(loss, target)(outputs[:4])
    assert noise is not None
    std = (values[:4].var(0, unbiased=False) + noise.mean(0)).sqrt()
    scores = ((truth - values[:4].mean(0)).abs() / std)[:, 0]
    assert many.threshold(0.9).item() == pytest.approx(Scores.of(scores, 500).conformal(0.9))
    logits, classes = classified(ROWS, 1)
    target, loss = codec("classification", classes=("a", "b", "c", "d")), CrossEntropy()
    few, many = (calibrate(loss, target, logits[:count], classes, 4, 0) for count in (4, SAMPLES))
    assert few is not None and many is not None
    assert many.temperature == pytest.approx(tuple(fit_temperature(loss, logits, classes).tolist()))
    assert many.temperature != few.temperature and many.before == few.before


def test_few_samples_overrate_the_noise() -> None:
    source = draws(9)
    center = source.normal(size=(ROWS, 1)) * 10
    # The truth is one more sample, and noise around it that is small beside the spread of the samples.
    samples = center + source.normal(size=(400, ROWS, 1))
    y = torch.from_numpy(center + source.normal(size=center.shape) + source.normal(size=center.shape) * 0.3)
    few, many = (fit_deviation(y, torch.from_numpy(samples[:count])).item() for count in (50, 400))
    assert 0.3 * 0.5 < many < few


def test_a_single_row_is_enough_not_to_fail() -> None:
    found = fitted(Mse(), codec("regression"), *valued(1, 3))
    assert found.threshold(0.9).isinf().all() and found.after["conformal"] is None
    target = codec("classification", classes=("a", "b", "c", "d"))
    assert fitted(CrossEntropy(), target, *classified(1, 1)).threshold(0.5).isfinite().all()


def test_outputs_that_are_no_numbers_are_not_calibrated() -> None:
    outputs, y = valued(5, 3)
    outputs[0, 3] = math.nan
    assert calibrate(Mse(), codec("regression"), outputs, y, SAMPLES, 0) is None
