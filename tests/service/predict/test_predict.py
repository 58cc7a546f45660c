"""Whole requests on models that were trained on real data."""

import io
import threading
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from pydantic import TypeAdapter

from service.predict.messages import ClassPrediction, PredictRequest, ValuePrediction
from service.predict.predict import predict
from service.settings import Settings
from tests.service.predict.asking import SETTINGS, Load, ask, table


def test_classes_are_predicted_from_raw_rows(loaded: Load, wine: Any, wine_csv: bytes) -> None:
    rows, targets = table(wine_csv)
    answer = ask(loaded(wine), rows, mc_samples=20, seed=1)
    assert (answer["mc_samples"], answer["seed"], answer["note"]) == (20, 1, None)
    assert answer["stochastic_layers"] == ["dropout_1", "dropout_3"]
    assert np.mean([p["label"] == target for p, target in zip(answer["predictions"], targets, strict=True)]) > 0.97
    for prediction in answer["predictions"]:
        TypeAdapter(ClassPrediction).validate_python(prediction)
        probabilities = prediction["probabilities"]
        assert list(probabilities) == ["class_0", "class_1", "class_2"] == list(prediction["probabilities_std"])
        assert sum(probabilities.values()) == pytest.approx(1)
        assert max(probabilities, key=probabilities.get) == prediction["label"]
        doubt = prediction["predictive_entropy"] - prediction["expected_entropy"]
        assert prediction["mutual_information"] == pytest.approx(max(doubt, 0), abs=1e-12)
        assert "samples" not in prediction


def test_values_come_back_in_the_targets_own_units(loaded: Load, diabetes: Any, diabetes_csv: bytes) -> None:
    rows, targets = table(diabetes_csv)
    truth = np.array(targets, float)
    answer = ask(loaded(diabetes), rows, mc_samples=50, quantiles=[0.05, 0.5, 0.95], return_samples=True)
    mean = np.array([p["mean"] for p in answer["predictions"]])
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 60 < truth.std()
    for prediction in answer["predictions"][::40]:
        TypeAdapter(ValuePrediction).validate_python(prediction)
        samples = np.array(prediction["samples"])
        assert samples.shape == (50,)
        np.testing.assert_allclose(prediction["mean"], samples.mean(), rtol=1e-12)
        np.testing.assert_allclose(prediction["std"], samples.std(), rtol=1e-9)
        assert prediction["epistemic_std"] == prediction["std"] > 1 and prediction["aleatoric_std"] is None
        assert list(prediction["quantiles"]) == ["0.05", "0.5", "0.95"]
        found = list(prediction["quantiles"].values())
        np.testing.assert_allclose(found, np.quantile(samples, [0.05, 0.5, 0.95]), rtol=1e-9)


def test_images_are_rows_too(loaded: Load, digits: Any, digits_npz: bytes) -> None:
    model, file = loaded(digits), np.load(io.BytesIO(digits_npz))
    images, truth = file["image"][:60].tolist(), file["target"][:60]
    as_tensors = ask(model, images, mc_samples=10)
    assert np.mean([p["label"] == t for p, t in zip(as_tensors["predictions"], truth, strict=True)]) > 0.9
    assert as_tensors == ask(model, [{"image": image} for image in images], mc_samples=10)
    assert all(type(p["label"]) is int for p in as_tensors["predictions"])


def test_without_samples_the_whole_network_answers_without_spread(loaded: Load, wine: Any, wine_csv: bytes) -> None:
    model, rows = loaded(wine), table(wine_csv)[0][:5]
    answer = ask(model, rows, mc_samples=0, return_samples=True)
    x = torch.from_numpy(model.features.transform(model.features.read_rows(rows)))
    expected = model.monte_carlo.network(x).double().softmax(-1)
    assert answer["mc_samples"] == 0 and answer["note"] is None
    assert answer["stochastic_layers"] == ["dropout_1", "dropout_3"]
    for prediction, p in zip(answer["predictions"], expected.tolist(), strict=True):
        assert list(prediction["probabilities"].values()) == pytest.approx(p, rel=1e-5)
        assert set(prediction["probabilities_std"].values()) == {0.0}
        assert prediction["mutual_information"] == 0.0
        assert prediction["predictive_entropy"] == prediction["expected_entropy"]
        assert prediction["samples"] == []


def test_a_network_without_dropout_says_so(loaded: Load, plain: Any) -> None:
    answer = ask(loaded(plain), [[1.0] * 13], mc_samples=30, return_samples=True)
    assert answer["mc_samples"] == 0 and answer["stochastic_layers"] == []
    assert "No layer of this network is stochastic" in answer["note"]
    assert answer["predictions"][0]["samples"] == []
    assert set(answer["predictions"][0]["probabilities_std"].values()) == {0.0}


@pytest.mark.parametrize("model", ["wine", "diabetes", "digits"])
def test_the_same_request_has_the_same_bytes(model: str, request: pytest.FixtureRequest, loaded: Load) -> None:
    trained = request.getfixturevalue(model)
    first, second = loaded(trained), loaded(trained)
    (shape,) = {column.shape for column in first.features.columns}
    row = np.ones(shape).tolist() if shape else [1.0] * len(first.features.columns)

    def asked(seed: int) -> PredictRequest:
        return PredictRequest(rows=[row] * 3, mc_samples=33, seed=seed, return_samples=True)

    answer = predict(first, asked(7), SETTINGS).encode()
    assert answer == predict(first, asked(7), SETTINGS).encode() == predict(second, asked(7), SETTINGS).encode()
    other = orjson.loads(predict(first, asked(8), SETTINGS).encode())
    assert other["predictions"] != orjson.loads(answer)["predictions"]


def test_more_samples_begin_with_fewer_and_other_rows_do_not_matter(
    loaded: Load, diabetes: Any, diabetes_csv: bytes
) -> None:
    model, rows = loaded(diabetes), table(diabetes_csv)[0]
    many = ask(model, rows[:200], mc_samples=90, seed=3, return_samples=True)["predictions"]
    for row in (0, 17, 199):
        (alone,) = ask(model, [rows[row]], mc_samples=30, seed=3, return_samples=True)["predictions"]
        np.testing.assert_allclose(alone["samples"], many[row]["samples"][:30], rtol=1e-4)


def test_many_rows_in_small_tiles_agree_with_one_tile(loaded: Load, digits: Any, digits_npz: bytes) -> None:
    model, images = loaded(digits), np.load(io.BytesIO(digits_npz))["image"][:300].tolist()
    small = ask(model, images, Settings(predict_tile_bytes=1024 * 1024), mc_samples=6, return_samples=True)
    large = ask(model, images, Settings(predict_tile_bytes=1 << 30), mc_samples=6, return_samples=True)
    assert model.monte_carlo.tile(1024 * 1024) < 300
    for a, b in zip(small["predictions"], large["predictions"], strict=True):
        np.testing.assert_allclose(a["samples"], b["samples"], rtol=1e-3, atol=1e-6)


def test_regression_samples_are_held_for_as_many_rows_as_a_tile_allows(loaded: Load, diabetes: Any) -> None:
    model, rows = loaded(diabetes), np.linspace(0, 1, 400).reshape(40, 10).tolist()
    few = ask(model, rows, Settings(predict_tile_bytes=1024 * 1024), mc_samples=10_000)
    many = ask(model, rows, Settings(predict_tile_bytes=1 << 30), mc_samples=10_000)
    for a, b in zip(few["predictions"], many["predictions"], strict=True):
        assert [a["mean"], a["std"], *a["quantiles"].values()] == pytest.approx(
            [b["mean"], b["std"], *b["quantiles"].values()], rel=1e-4
        )


def test_requests_at_the_same_time_do_not_disturb_each_other(loaded: Load, wine: Any, wine_csv: bytes) -> None:
    model, rows = loaded(wine), table(wine_csv)[0][:4]
    requests = {seed: PredictRequest(rows=rows, mc_samples=25 + seed, seed=seed) for seed in range(8)}
    expected = {seed: predict(model, request, SETTINGS).encode() for seed, request in requests.items()}
    wrong: list[int] = []
    barrier = threading.Barrier(len(requests))

    def repeat(seed: int) -> None:
        barrier.wait(10)
        for _ in range(25):
            if predict(model, requests[seed], SETTINGS).encode() != expected[seed]:
                wrong.append(seed)

    threads = [threading.Thread(target=repeat, args=(seed,)) for seed in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_prediction_uses_the_threads_of_the_settings(loaded: Load, wine: Any) -> None:
    model, before, seen = loaded(wine), torch.get_num_threads(), []

    def run(threads: int) -> None:
        ask(model, [[1.0] * 13], Settings(predict_threads=threads))
        seen.append(torch.get_num_threads())

    try:
        for count in (2, 1):
            thread = threading.Thread(target=run, args=(count,))
            thread.start()
            thread.join()
    finally:
        torch.set_num_threads(before)
    assert seen == [2, 1]
