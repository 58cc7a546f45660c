"""What a request may hold, and where its mistakes are said to be."""

from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter, ValidationError

from service.errors import Problem
from service.predict.messages import ClassPrediction, PredictAnswer, PredictRequest, ValuePrediction
from service.problems import problems_of

CLASS = ClassPrediction(
    label=True,
    probabilities={"false": 0.25, "true": 0.75},
    probabilities_std={"false": 0.1, "true": 0.1},
    predictive_entropy=0.56,
    expected_entropy=0.5,
    mutual_information=0.06,
    variation_ratio=0.02,
)
VALUE = ValuePrediction(
    mean=[1.5, 2.0], std=[0.1, 0.0], epistemic_std=[0.1, 0.0], aleatoric_std=None, quantiles={"0.05": [1.0, 2.0]}
)


def problems(body: object) -> list[Problem]:
    with pytest.raises(ValidationError) as caught:
        PredictRequest.model_validate(body)
    return problems_of(caught.value, body)


def test_rows_are_objects_or_arrays_and_the_rest_has_defaults() -> None:
    request = PredictRequest.model_validate({"rows": [{"a": 1, "b": "x"}, [2, None], [[[0.5]]]]})
    assert request.rows == [{"a": 1, "b": "x"}, [2, None], [[[0.5]]]]
    assert (request.mc_samples, request.seed, request.return_samples) == (50, 0, False)
    assert request.quantiles == [0.05, 0.95]


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({}, ["rows"]),
        ({"rows": []}, ["rows"]),
        ({"rows": {"a": 1}}, ["rows"]),
        ({"rows": [[1], 2, "x", None, {}]}, ["rows[1]", "rows[2]", "rows[3]"]),
        ({"rows": [[1]], "mc_samples": -1}, ["mc_samples"]),
        ({"rows": [[1]], "mc_samples": "50"}, ["mc_samples"]),
        ({"rows": [[1]], "mc_samples": 10**9}, ["mc_samples"]),
        ({"rows": [[1]], "seed": -1}, ["seed"]),
        ({"rows": [[1]], "seed": 2**63}, ["seed"]),
        ({"rows": [[1]], "seed": True}, ["seed"]),
        ({"rows": [[1]], "return_samples": 1}, ["return_samples"]),
        ({"rows": [[1]], "quantiles": [0.5, 1.5, float("nan"), "x"]}, ["quantiles[1]", "quantiles[2]", "quantiles[3]"]),
        ({"rows": [[1]], "quantiles": [0.5] * 101}, ["quantiles"]),
        ({"rows": [[1]], "samples": 5}, ["samples"]),
        ([], [""]),
    ],
)
def test_mistakes_are_named_by_their_json_path(body: object, paths: list[str]) -> None:
    assert [problem.path for problem in problems(body)] == paths


def test_a_bad_row_is_told_what_a_row_may_be() -> None:
    (problem,) = problems({"rows": [3.5]})
    assert problem.got == 3.5
    assert "object" in problem.message and "array" in problem.message and problem.allowed


def properties(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    parts = [schema, *schema.get("$defs", {}).values()]
    return [(name, field) for part in parts for name, field in part.get("properties", {}).items()]


@pytest.mark.parametrize("model", [PredictRequest, PredictAnswer])
def test_every_field_is_described_and_has_an_example(model: type[PredictRequest | PredictAnswer]) -> None:
    found = properties(model.model_json_schema())
    assert len(found) >= 5
    bare = [name for name, field in found if not field.get("description")]
    plain = [name for name, field in found if name != "predictions" and not field.get("examples")]
    assert (bare, plain) == ([], [])


@pytest.mark.parametrize(
    ("kind", "name"), [(ClassPrediction, "probabilities"), (ValuePrediction, "quantiles"), (PredictRequest, "rows")]
)
def test_examples_are_valid(kind: Any, name: str) -> None:
    schema = TypeAdapter(kind).json_schema()
    example = {field: schema["properties"][field]["examples"][0] for field in schema["properties"]}
    assert TypeAdapter(kind).validate_python(example)
    assert name in example


@pytest.mark.parametrize(
    "predictions", [[CLASS], [VALUE], [{**CLASS, "samples": [[0.2, 0.8]]}], [{**VALUE, "samples": [[1.5, 2.0]]}]]
)
def test_an_answer_is_encoded_as_it_is_described(predictions: Any) -> None:
    answer = PredictAnswer(predictions=predictions, mc_samples=1, seed=2**63 - 1, stochastic_layers=["dropout_1"])
    decoded = orjson.loads(answer.encode())
    assert decoded == {
        "predictions": predictions,
        "mc_samples": 1,
        "members": 1,
        "seed": 2**63 - 1,
        "stochastic_layers": ["dropout_1"],
        "calibrated": False,
        "note": None,
    }
    assert PredictAnswer.model_validate(decoded).model_dump(mode="json") == decoded
