"""Preprocessing steps: what they compute, what they learn it from, what they refuse."""

import math
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from service.blocks import statistics
from service.blocks.encoding import LARGEST_WIDTH
from service.blocks.preprocessing import AnyPreprocessing, Preprocessing
from service.data.frame import Column, Fact, Facts, Frame
from service.errors import InvalidInput, InvalidRows

RANDOM = np.random.default_rng(0)
STEPS: TypeAdapter[Preprocessing] = TypeAdapter(AnyPreprocessing)


def step(type: str, **fields: Any) -> Preprocessing:
    return STEPS.validate_python({"type": type, **fields})


def number(*values: float) -> Column:
    return Column("number", np.array(values, np.float64))


def words(*values: str | None) -> Column:
    return Column("category", np.array(values, object))


def facts_of(frame: Frame) -> Facts:
    """Return the facts of a frame, taken for the whole data set."""
    return {name: _fact(column) for name, column in frame.items()}


def _fact(column: Column) -> Fact:
    values = column.values
    if column.kind == "tensor":
        return Fact("tensor", values.shape[1:], int(np.isnan(values).sum()), indicator=column.indicator)
    known = [value for value in values.tolist() if value is not None and value == value]
    counts = tuple((value, known.count(value)) for value in sorted(set(known)))
    return Fact(column.kind, (), len(values) - len(known), counts, column.indicator)


def fitted(made: Preprocessing, frame: Frame) -> tuple[Frame, dict[str, Any]]:
    """Fit and apply; the state goes through JSON, and what is planned must be what comes."""
    facts = facts_of(frame)
    assert not made.check(facts)
    state = orjson.loads(orjson.dumps(made.fit([frame], facts)))
    result = made.apply(frame, state)
    planned = made.plan(facts)
    assert list(result) == list(planned)
    for name, column in result.items():
        assert planned[name].kind == column.kind
        assert planned[name].shape == column.values.shape[1:]
        assert planned[name].indicator == column.indicator
    return result, state


def refusals(made: Preprocessing, frame: Frame) -> list[tuple[str, str]]:
    return [(problem.path, problem.message) for problem in made.check(facts_of(frame))]


@pytest.mark.parametrize("name", ["standardize", "min_max", "one_hot", "impute"])
def test_every_step_has_a_bare_name_and_leaves_an_empty_frame_alone(name: str) -> None:
    made = STEPS.validate_python(name)
    assert made == STEPS.validate_python(made.model_dump(mode="json"))
    assert made.apply({}, made.fit([{}], {})) == {}


def test_standardize_gives_mean_0_and_population_deviation_1() -> None:
    values = RANDOM.normal(5, 3, 1000)
    result, _ = fitted(step("standardize"), {"x": Column("number", values)})
    assert np.allclose(result["x"].values, (values - values.mean()) / values.std(), rtol=1e-12)


def test_min_max_takes_the_extremes_to_the_range() -> None:
    frame = {"x": number(2, 4, 10)}
    assert fitted(step("min_max"), frame)[0]["x"].values.tolist() == [0, 0.25, 1]
    assert fitted(step("min_max", range=[-1, 3]), frame)[0]["x"].values.tolist() == [-1, 0, 3]


@pytest.mark.parametrize("range", [[1, 1], [2, 1], [0, 1, 2]])
def test_min_max_wants_a_range(range: list[float]) -> None:
    with pytest.raises(ValidationError):
        step("min_max", range=range)


@pytest.mark.parametrize(("type", "result"), [("standardize", 0.0), ("min_max", 0.0)])
@pytest.mark.parametrize("value", [0.1, -3.0, 1e17])
def test_a_constant_column_is_not_blown_up(type: str, result: float, value: float) -> None:
    assert fitted(step(type), {"x": number(*[value] * 7)})[0]["x"].values.tolist() == [result] * 7


def test_scaling_is_learned_from_what_it_was_fitted_to() -> None:
    train, other = {"x": number(0, 2)}, {"x": number(4)}
    made = step("standardize")
    state = made.fit([train], facts_of(train))
    assert made.apply(other, state)["x"].values.tolist() == [3]


def test_missing_values_stay_missing_and_count_for_nothing() -> None:
    result, _ = fitted(step("standardize"), {"x": number(1, np.nan, 3)})
    assert np.array_equal(result["x"].values, [-1, np.nan, 1], equal_nan=True)


def test_codes_and_text_are_not_scaled_unless_a_code_is_named() -> None:
    frame = {"c": words("a", "b"), "i": Column("number", np.array([0.0, 1.0]), indicator=True)}
    result, state = fitted(step("standardize"), frame)
    assert state["columns"] == {} and result == frame
    assert fitted(step("standardize", columns=["i"]), frame)[0]["i"].values.tolist() == [-1, 1]
    assert refusals(step("standardize", columns=["i", "c"]), frame)[0][0] == "columns[1]"


@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((50, 3), (0,)), ((50, 3, 4), (0, 2)), ((50, 3, 4, 5), (0, 2, 3))],
    ids=["vector", "sequence", "image"],
)
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_tensors_are_scaled_by_element_or_channel(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], axes: tuple[int, ...], dtype: str, piece: int
) -> None:
    monkeypatch.setattr(statistics, "PIECE", piece)
    values: NDArray[Any] = RANDOM.integers(0, 256, shape).astype(dtype)
    result, _ = fitted(step("standardize"), {"x": Column("tensor", values)})
    wide = values.astype(np.float64)
    expected = (wide - wide.mean(axes, keepdims=True)) / wide.std(axes, keepdims=True)
    assert result["x"].values.dtype == np.float32
    assert np.allclose(result["x"].values, expected, atol=1e-6)
    scaled, _ = fitted(step("min_max"), {"x": Column("tensor", values)})
    assert (scaled["x"].values.min(axes) == 0).all() and (scaled["x"].values.max(axes) == 1).all()


def test_far_from_zero_the_digits_are_kept() -> None:
    values = 1e9 + RANDOM.normal(size=(1000, 2))
    result, _ = fitted(step("standardize"), {"x": Column("tensor", values)})
    assert np.allclose(result["x"].values.std(0), 1, atol=1e-5)


@pytest.mark.parametrize("type", ["standardize", "min_max"])
@pytest.mark.parametrize(
    ("column", "message"),
    [
        (number(1, np.inf), "infinite"),
        (number(np.nan, np.nan), "no values"),
        (number(-1.7e308, 1.7e308), "too large"),
        (Column("tensor", np.array([[1.0, np.nan], [2.0, np.nan]])), "no values"),
    ],
    ids=["infinite", "nothing", "too-large", "nothing-in-one-place"],
)
def test_what_cannot_be_scaled_is_refused_by_name(type: str, column: Column, message: str) -> None:
    frame = {"it": column}
    with pytest.raises(InvalidInput, match=f"'it'.*{message}"):
        step(type).fit([frame], facts_of(frame))


@pytest.mark.parametrize(
    ("strategy", "filled"), [("mean", 3.0), ("median", 2.0), ("most_frequent", 2.0)], ids=lambda value: str(value)
)
def test_impute_numbers(strategy: str, filled: float) -> None:
    result, state = fitted(step("impute", strategy=strategy), {"x": number(2, 2, np.nan, 1, 7)})
    assert result["x"].values.tolist() == [2, 2, filled, 1, 7]
    assert state == {"columns": {"x": filled}, "indicators": []}


def test_impute_takes_the_least_of_equally_frequent_values() -> None:
    frame = {"c": words("b", "a", None), "x": number(5, np.nan, 4)}
    result, _ = fitted(step("impute", strategy="most_frequent"), frame)
    assert result["c"].values.tolist() == ["b", "a", "a"]
    assert result["x"].values.tolist() == [5, 4, 4]


def test_impute_a_constant_works_on_columns_of_its_type_and_adds_a_category() -> None:
    frame = {"c": words("b", None), "x": number(1, np.nan)}
    result, _ = fitted(step("impute", strategy="constant", fill_value="none"), frame)
    assert result["c"].values.tolist() == ["b", "none"] and np.isnan(result["x"].values[1])
    result, _ = fitted(step("impute", strategy="constant", fill_value=-1), frame)
    assert result["c"].values.tolist() == ["b", None] and result["x"].values.tolist() == [1, -1]
    planned = step("impute", strategy="constant", fill_value="none").plan(facts_of(frame))
    assert planned["c"].counts == (("b", 1), ("none", 1))


@pytest.mark.parametrize("fields", [{"strategy": "constant"}, {"fill_value": 3.0}, {"strategy": "mode"}])
def test_impute_wants_a_constant_with_the_strategy_of_one(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        step("impute", **fields)


def test_indicators_mark_what_was_missing_where_the_data_set_misses_something() -> None:
    frame = {"x": number(1, np.nan), "y": number(1, 2)}
    result, _ = fitted(step("impute", indicator=True), frame)
    assert list(result) == ["x", "y", "x:missing"]
    assert result["x:missing"].values.tolist() == [0, 1] and result["x:missing"].indicator
    taken = frame | {"x:missing": number(1, 1)}
    assert "there is a column" in refusals(step("impute", columns=["x"], indicator=True), taken)[0][1]


def test_impute_fills_rows_to_come_even_where_the_training_rows_miss_nothing() -> None:
    frame = {"x": number(1, 3)}
    made = step("impute")
    assert made.apply({"x": number(np.nan)}, made.fit([frame], facts_of(frame)))["x"].values.tolist() == [2]


def test_impute_refuses_what_it_has_nothing_for() -> None:
    frame = {"c": words("a", None), "t": Column("tensor", np.ones((2, 2))), "x": number(np.nan, np.nan)}
    assert [path for path, _ in refusals(step("impute", columns=["c", "t"]), frame)] == ["columns[0]", "columns[1]"]
    wrong = step("impute", columns=["c"], strategy="constant", fill_value=1.0)
    assert "unlike fill_value" in refusals(wrong, frame)[0][1]
    with pytest.raises(InvalidInput, match="'x' has no values"):
        step("impute", columns=["x"]).fit([frame], facts_of(frame))


def test_one_hot_sets_one_code_a_row_in_the_order_of_the_alphabet() -> None:
    result, _ = fitted(step("one_hot"), {"c": words("b", "a", "b"), "x": number(1, 2, 3)})
    assert list(result) == ["c", "x"]
    assert result["c"].values.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert result["c"].indicator


def test_one_hot_takes_its_values_from_the_data_set_not_the_training_rows() -> None:
    train = {"c": words("a")}
    facts = facts_of({"c": words("a", "b")})
    made = step("one_hot")
    state = made.fit([train], facts)
    assert made.apply({"c": words("b")}, state)["c"].values.tolist() == [[0, 1]]


def test_one_hot_of_numbers_that_are_named() -> None:
    frame = {"x": number(8, 4, 6, 8)}
    result, _ = fitted(step("one_hot", columns=["x"]), frame)
    assert result["x"].values.argmax(1).tolist() == [2, 0, 1, 2]
    assert fitted(step("one_hot"), frame)[0] == frame


def test_unknown_values_are_refused_by_row_or_ignored() -> None:
    frame = {"c": words("a", "b")}
    other = {"c": words("a", "z", "b", None)}
    facts = facts_of(frame)
    strict = step("one_hot")
    with pytest.raises(InvalidRows) as caught:
        strict.apply(other, strict.fit([frame], facts))
    assert [(p.path, p.got, p.allowed) for p in caught.value.problems] == [
        ("rows[1].c", "z", ["a", "b"]),
        ("rows[3].c", None, ["a", "b"]),
    ]
    lenient = step("one_hot", unknown="ignore")
    codes = lenient.apply(other, lenient.fit([frame], facts))["c"].values
    assert codes.tolist() == [[1, 0], [0, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize("min_frequency", [3, 0.3])
def test_rare_values_share_a_code(min_frequency: float) -> None:
    frame = {"c": words(*"aaaa", *"bbb", "c", "d")}
    made = step("one_hot", min_frequency=min_frequency, unknown="ignore")
    result, state = fitted(made, frame)
    assert result["c"].values.argmax(1).tolist() == [0] * 4 + [1] * 3 + [2] * 2
    assert made.apply({"c": words("new")}, state)["c"].values.tolist() == [[0, 0, 1]]


def test_one_hot_refuses_missing_values_tensors_and_too_many_values() -> None:
    frame = {
        "missing": words("a", None),
        "tensor": Column("tensor", np.ones((2, 2))),
        "many": words("a", "b"),
    }
    made = step("one_hot", columns=["missing", "tensor", "many"])
    facts = facts_of(frame) | {"many": Fact("category", counts=tuple((str(i), 1) for i in range(LARGEST_WIDTH + 1)))}
    messages = [problem.message for problem in made.check(facts)]
    assert ["impute" in messages[0], "tensors" in messages[1], "1,000" in messages[2]] == [True] * 3
    facts["many"] = Fact("category", counts=None)
    assert len(made.check(facts)) == 3


@pytest.mark.parametrize("type", ["standardize", "min_max", "channel_mean", "impute"])
@pytest.mark.parametrize("columns", [None, ["b"]])
def test_in_one_piece_numbers_become_the_same_to_the_bit(type: str, columns: list[str] | None) -> None:
    values = RANDOM.normal(size=(50, 3)) * [1.0, 30.0, 1e-3]
    frame = {name: number(*column) for name, column in zip("abc", values.T, strict=True)}
    made = step(type, columns=columns)
    result, state = fitted(made, frame)
    in_block = made.in_block(list(frame), state)
    assert in_block is not None
    assert in_block(values).tobytes() == np.stack([column.values for column in result.values()], axis=1).tobytes()


def test_indicators_are_not_made_in_one_piece() -> None:
    frame = {"a": number(1.0, math.nan)}
    made = step("impute", indicator=True)
    assert made.in_block(["a"], fitted(made, frame)[1]) is None
