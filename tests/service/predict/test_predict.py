"""Whole requests on models that were trained on real data."""

import csv
import io
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from pydantic import TypeAdapter

from service.errors import InvalidInput, InvalidRows, TooLarge
from service.predict.answers import key_of
from service.predict.cache import LoadedModel, load
from service.predict.messages import ClassPrediction, PredictRequest, ValuePrediction
from service.predict.predict import predict
from service.settings import Settings
from service.store.engine import Store

SETTINGS = Settings()
Load = Callable[[Any], LoadedModel]


@pytest.fixture
def loaded(sqlite_store: Store) -> Load:
    return lambda model: load(sqlite_store, model.insert(sqlite_store))


def ask(model: LoadedModel, rows: list[Any], settings: Settings = SETTINGS, **options: Any) -> dict[str, Any]:
    answer = predict(model, PredictRequest.model_validate({"rows": rows, **options}), settings).encode()
    decoded: dict[str, Any] = orjson.loads(answer)
    return decoded


def table(data: bytes) -> tuple[list[dict[str, float]], list[str]]:
    """Return the rows of a CSV file without their target, and the targets."""
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    targets = [row.pop("target") for row in rows]
    return [{name: float(value) for name, value in row.items()} for row in rows], targets


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


def test_what_is_answered_follows_from_the_samples(loaded: Load, wine: Any, wine_csv: bytes) -> None:
    rows = table(wine_csv)[0][::30]
    for prediction in ask(loaded(wine), rows, mc_samples=40, return_samples=True)["predictions"]:
        p = np.array(prediction["samples"])
        assert p.shape == (40, 3)
        mean = p.mean(0)
        entropies = -(p * np.log(np.maximum(p, 1e-300))).sum(1)
        np.testing.assert_allclose(list(prediction["probabilities"].values()), mean, rtol=1e-9)
        np.testing.assert_allclose(list(prediction["probabilities_std"].values()), p.std(0), rtol=1e-9)
        np.testing.assert_allclose(prediction["predictive_entropy"], -(mean * np.log(mean)).sum(), rtol=1e-9)
        np.testing.assert_allclose(prediction["expected_entropy"], entropies.mean(), rtol=1e-9)


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


def test_whole_quantiles_keep_the_text_they_were_sent_as(loaded: Load, diabetes: Any) -> None:
    (prediction,) = ask(loaded(diabetes), [[0.0] * 10], quantiles=[0, 0.5, 1.0], return_samples=True)["predictions"]
    assert list(prediction["quantiles"]) == ["0", "0.5", "1.0"]
    assert prediction["quantiles"]["0"] == min(prediction["samples"])
    assert prediction["quantiles"]["1.0"] == max(prediction["samples"])


def test_several_targets_are_lists_in_the_order_of_the_spec(loaded: Load, train: Any, layers: Any) -> None:
    x = np.arange(60.0) % 7
    lines = ["target,a,b,other", *(f"{1000 + v},{v},{-v},{-5 * v}" for v in x)]
    data = {"target": ["other", "target"], "target_preprocessing": "standardize"}
    body = {"network": {"layers": layers()}, "loss": "mse", "data": data}
    model = loaded(train("\n".join(lines).encode(), "csv", body))
    (prediction,) = ask(model, [{"a": 3, "b": -3}], mc_samples=30, return_samples=True)["predictions"]
    TypeAdapter(ValuePrediction).validate_python(prediction)
    other, target = prediction["mean"]
    assert abs(other - -15) < 8 and abs(target - 1003) < 3
    assert np.shape(prediction["std"]) == np.shape(prediction["epistemic_std"]) == (2,)
    assert prediction["aleatoric_std"] is None
    assert {level: np.shape(v) for level, v in prediction["quantiles"].items()} == {"0.05": (2,), "0.95": (2,)}
    assert np.shape(prediction["samples"]) == (30, 2)
    (prediction,) = ask(model, [{"a": 3, "b": -3}], mc_samples=0)["predictions"]
    assert prediction["std"] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("values", "classes", "keys"),
    [
        (["true", "false"], [False, True], ["false", "true"]),
        (["7", "11"], [7, 11], ["7", "11"]),
        (["1.0", "2.0"], [1, 2], ["1", "2"]),
        (["x", "é ü"], ["x", "é ü"], ["x", "é ü"]),
    ],
    ids=["booleans", "integers", "whole numbers", "text"],
)
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_classes_keep_their_json_type(
    values: list[str], classes: list[Any], keys: list[str], loss: str, loaded: Load, train: Any, layers: Any
) -> None:
    lines = [
        "a,target",
        *(f"{side},{value}" for _ in range(20) for side, value in zip((-1.5, 1.5), values, strict=True)),
    ]
    model = loaded(train("\n".join(lines).encode(), "csv", {"network": {"layers": layers()}, "loss": loss}))
    predictions = ask(model, [[-1.5], {"a": 1.5}], mc_samples=20, return_samples=True)["predictions"]
    in_order = dict(zip(values, predictions, strict=True))
    for text, prediction in in_order.items():
        TypeAdapter(ClassPrediction).validate_python(prediction)
        assert list(prediction["probabilities"]) == keys
        assert np.shape(prediction["samples"]) == (20, 2)
        meant = text if text not in ("true", "false") else text == "true"
        label = prediction["label"]
        assert str(label) == str(meant) or float(label) == float(text)
        assert isinstance(label, bool) == isinstance(classes[0], bool)
        assert isinstance(label, str) == isinstance(classes[0], str)


def test_the_key_of_a_class_is_its_json_text() -> None:
    assert [key_of(value) for value in (True, False, 1, -3, 1.0, 2.5, "1", "é")] == [
        "true", "false", "1", "-3", "1", "2.5", "1", "é",
    ]  # fmt: skip


def test_of_equally_likely_classes_the_first_is_the_label(loaded: Load, wine: Any) -> None:
    model = loaded(wine)
    with torch.no_grad():
        for parameter in model.monte_carlo.network.parameters():
            parameter.zero_()
    (prediction,) = ask(model, [[1.0] * 13], mc_samples=7)["predictions"]
    assert prediction["label"] == "class_0"
    assert prediction["predictive_entropy"] == pytest.approx(np.log(3))
    assert prediction["mutual_information"] == pytest.approx(0, abs=1e-15)


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


def test_without_samples_every_quantile_is_the_value(loaded: Load, diabetes: Any) -> None:
    (prediction,) = ask(loaded(diabetes), [[50.0] * 10], mc_samples=0, return_samples=True)["predictions"]
    assert prediction["quantiles"] == {"0.05": prediction["mean"], "0.95": prediction["mean"]}
    assert (prediction["std"], prediction["epistemic_std"], prediction["samples"]) == (0.0, 0.0, [])


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


def test_rows_that_do_not_fit_are_all_named(loaded: Load, wine: Any, wine_csv: bytes) -> None:
    good = table(wine_csv)[0][0]
    wrong = [good, {**good, "alcohol": "strong"}, {**good, "hue": None}, {**good, "alcohol": float("nan")}]
    with pytest.raises(InvalidRows) as caught:
        ask(loaded(wine), wrong)
    paths = [problem.path for problem in caught.value.problems]
    assert paths == ["rows[1].alcohol", "rows[2].hue", "rows[3].alcohol"]
    with pytest.raises(InvalidRows) as caught:
        ask(loaded(wine), [[1.0] * 12, {**good, "alcohool": 1.0}])
    assert [problem.path for problem in caught.value.problems] == ["rows[0]", "rows[1].alcohool"]


def amplified(model: LoadedModel) -> LoadedModel:
    """Make the weights so large that a large row overflows, and an ordinary one does not."""
    with torch.no_grad():
        for parameter in model.monte_carlo.network.parameters():
            parameter.mul_(1e5)
    return model


@pytest.mark.parametrize("samples", [0, 5])
@pytest.mark.parametrize("model", ["wine", "diabetes"])
def test_an_answer_that_is_not_finite_names_its_row(
    model: str, samples: int, request: pytest.FixtureRequest, loaded: Load
) -> None:
    served = amplified(loaded(request.getfixturevalue(model)))
    width = len(served.features.columns)
    with pytest.raises(InvalidRows) as caught:
        ask(served, [[1.0] * width, [1e30] * width, [1.0] * width, [-1e30] * width], mc_samples=samples)
    assert {problem.path for problem in caught.value.problems} <= {"rows[1]", "rows[3]"}
    assert "not a finite number" in caught.value.problems[0].message


def test_a_row_beyond_the_first_chunk_is_named_by_its_own_number(loaded: Load, diabetes: Any) -> None:
    rows = [[1.0] * 10] * 3000
    rows[2500] = [1e30] * 10
    with pytest.raises(InvalidRows) as caught:
        ask(amplified(loaded(diabetes)), rows, Settings(predict_tile_bytes=1024 * 1024), mc_samples=2)
    assert [problem.path for problem in caught.value.problems] == ["rows[2500]"]


def test_limits_are_held_before_anything_is_computed(loaded: Load, wine: Any) -> None:
    model, row = loaded(wine), [1.0] * 13
    with pytest.raises(InvalidInput) as caught:
        ask(model, [row], Settings(max_mc_samples=10), mc_samples=11)
    (problem,) = caught.value.problems
    assert (problem.path, problem.got, problem.allowed) == ("mc_samples", 11, 10)
    with pytest.raises(TooLarge, match="3 rows"):
        ask(model, [row] * 3, Settings(max_predict_rows=2))
    with pytest.raises(TooLarge, match="2 rows x 100 samples x 3 outputs"):
        ask(model, [row] * 2, Settings(max_predict_values=599), mc_samples=100)
    ask(model, [row] * 2, Settings(max_predict_values=600), mc_samples=100)
    with pytest.raises(TooLarge, match="return_samples"):
        ask(model, [row] * 2, Settings(max_answer_values=599), mc_samples=100, return_samples=True)
    ask(model, [row] * 2, Settings(max_answer_values=599), mc_samples=100)
    # Rows that are wrong as well are not looked at.
    with pytest.raises(TooLarge):
        ask(model, [["?"]] * 3, Settings(max_predict_rows=2))
