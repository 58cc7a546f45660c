"""What an answer says, and in which JSON types."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from service.data.profile import key_of
from service.predict.messages import ClassPrediction, ValuePrediction
from tests.service.predict.asking import Load, ask, table


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


def test_without_samples_every_quantile_is_the_value(loaded: Load, diabetes: Any) -> None:
    (prediction,) = ask(loaded(diabetes), [[50.0] * 10], mc_samples=0, return_samples=True)["predictions"]
    assert prediction["quantiles"] == {"0.05": prediction["mean"], "0.95": prediction["mean"]}
    assert (prediction["std"], prediction["epistemic_std"], prediction["samples"]) == (0.0, 0.0, [])
