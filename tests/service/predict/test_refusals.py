"""What is not predicted, and how that is said."""

from typing import Any

import pytest
import torch

from service.errors import InvalidInput, InvalidRows, TooLarge
from service.predict.cache import LoadedModel
from service.settings import Settings
from tests.service.predict.asking import Load, ask, table


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
