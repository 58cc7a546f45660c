"""Rows of a request: every form that is right, and every problem of those that are wrong."""

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.data.profile import ColumnProfile
from service.data.rows import MAX_PROBLEMS, frame_of_rows
from service.errors import InvalidRows

COLUMNS = [
    ColumnProfile(name="i", type="integer"),
    ColumnProfile(name="n", type="number"),
    ColumnProfile(name="b", type="boolean"),
    ColumnProfile(name="c", type="category"),
]
IMAGE = ColumnProfile(name="x", type="tensor", shape=(2, 3), dtype="uint8")
GOOD: dict[str, Any] = {"i": 1, "n": 2.5, "b": True, "c": "a"}
ALL = frozenset("inbc")


def problems(rows: list[Any], columns: list[ColumnProfile] = COLUMNS, fillable: frozenset[str] = frozenset()) -> Any:
    with pytest.raises(InvalidRows) as caught:
        frame_of_rows(rows, columns, fillable)
    orjson.dumps([vars(problem) for problem in caught.value.problems])
    return caught.value.problems


def paths(rows: list[Any], **options: Any) -> list[str]:
    return [problem.path for problem in problems(rows, **options)]


@pytest.mark.parametrize("row", [GOOD, list(GOOD.values()), tuple(GOOD.values()), dict(reversed(GOOD.items()))])
def test_objects_and_arrays(row: Any) -> None:
    frame = frame_of_rows([row, row], COLUMNS)
    assert list(frame) == ["i", "n", "b", "c"]
    assert [list(column.values) for column in frame.values()] == [[1, 1], [2.5, 2.5], [1, 1], ["a", "a"]]
    assert [column.indicator for column in frame.values()] == [False, False, True, False]


def test_categories_are_read_as_in_a_file() -> None:
    cells = [" a\t", "007", 7, 2**70, True, " ? ", "", None]
    frame = frame_of_rows([{"c": cell} for cell in cells], COLUMNS[3:], frozenset("c"))
    assert list(frame["c"].values) == ["a", "007", "7", str(2**70), "true", None, None, None]


@pytest.mark.parametrize("row", [dict.fromkeys(GOOD), [None] * 4, {}])
def test_missing_values_where_a_step_fills_them_in(row: Any) -> None:
    frame = frame_of_rows([row, GOOD], COLUMNS, ALL)
    assert [math.isnan(frame[name].values[0]) for name in "inb"] == [True] * 3
    assert frame["c"].values[0] is None
    assert paths([row, GOOD]) == ["rows[0].i", "rows[0].n", "rows[0].b", "rows[0].c"]


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("i", ["1", True, [1], {}, math.nan, math.inf, 10**400, 10**5000]),
        ("n", ["1.5", False, [], -math.inf]),
        ("b", [1, 0, "true", 1.0]),
        ("c", [1.5, ["a"], {}, math.nan]),
    ],
)
@pytest.mark.parametrize("fillable", [frozenset(), ALL])
def test_wrong_types_are_refused(name: str, cells: list[Any], fillable: frozenset[str]) -> None:
    rows = [GOOD, *(GOOD | {name: cell} for cell in cells)]
    found = problems(rows, fillable=fillable)
    assert [problem.path for problem in found] == [f"rows[{i}].{name}" for i in range(1, len(rows))]
    assert all("must be" in problem.message and problem.allowed for problem in found)


def test_all_problems_come_at_once_in_the_order_of_the_rows() -> None:
    rows = [GOOD | {"n": "x"}, 5, [1, 2], GOOD | {"nn": 1, "b": 3}, {"i": 1, "n": 1, "b": True}, GOOD | {"i": None}]
    assert paths(rows) == ["rows[0].n", "rows[1]", "rows[2]", "rows[3].nn", "rows[3].b", "rows[4].c", "rows[5].i"]


def test_an_unknown_column_is_named_with_the_likely_one() -> None:
    columns = [ColumnProfile(name="alcohol", type="number")]
    (problem,) = problems([{"alcohol": 1, "alchol": 2}], columns)
    assert (problem.path, problem.allowed) == ("rows[0].alchol", ["alcohol"])
    assert "did you mean 'alcohol'" in problem.message


def test_there_are_not_more_problems_than_anyone_reads() -> None:
    assert len(paths([{}] * 1000)) == MAX_PROBLEMS
    assert len(paths([{str(i): 1 for i in range(1000)}])) == MAX_PROBLEMS


def test_no_rows() -> None:
    assert paths([]) == ["rows"]


TENSOR = [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("row", [TENSOR, {"x": TENSOR}, [TENSOR], [[[1, 2, 3], [4, 5, 6.5]]]])
def test_tensors(row: Any) -> None:
    values = frame_of_rows([row, row], [IMAGE])["x"].values
    assert values.shape == (2, 2, 3)
    assert values[0, 1, 0] == 4


@pytest.mark.parametrize(
    "row",
    [
        [1, 2, 3, 4, 5, 6],
        [[1, 2, 3]],
        [[1, 2, 3], [4, 5]],
        [[1, 2, 3], [4, 5, "6"]],
        [[1, 2, 3], [4, 5, None]],
        [[1, 2, 3], [4, 5, math.nan]],
        [[1, 2, 3], [4, 5, {}]],
        {"x": None},
        {"x": 5},
        {},
        [],
        [TENSOR, TENSOR],
    ],
    ids=str,
)
def test_tensors_of_other_shapes_or_contents_are_refused(row: Any) -> None:
    found = problems([TENSOR, row], [IMAGE])
    assert all(problem.path.startswith("rows[1]") for problem in found)


def test_a_vector_is_a_row_of_a_vector_column() -> None:
    column = ColumnProfile(name="x", type="tensor", shape=(3,), dtype="float64")
    assert frame_of_rows([[1, 2, 3], {"x": [4, 5, 6]}], [column])["x"].values.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_tensors_beside_other_columns() -> None:
    frame = frame_of_rows([[TENSOR, 1], {"x": TENSOR, "i": 2}], [IMAGE, COLUMNS[0]])
    assert frame["i"].values.tolist() == [1, 2] and frame["x"].values.shape == (2, 2, 3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["i", "n", "b", "c", "x"]), inner),
    max_leaves=8,
)


@given(rows=st.lists(JSON, max_size=4), columns=st.sampled_from([COLUMNS, [IMAGE], [COLUMNS[0], IMAGE]]))
def test_whatever_comes_is_a_frame_or_a_list_of_problems(rows: list[Any], columns: list[ColumnProfile]) -> None:
    try:
        frame = frame_of_rows(rows, columns, frozenset("in"))
    except InvalidRows as error:
        orjson.dumps([vars(problem) for problem in error.problems])
        assert error.problems
    else:
        assert {len(column.values) for column in frame.values()} == {len(rows)}
        for column in frame.values():
            assert column.kind == "category" or not np.isinf(column.values).any()


@given(
    st.lists(st.lists(st.one_of(st.integers(), st.floats(width=32), st.booleans()), min_size=3, max_size=3), min_size=1)
)
def test_arrays_of_numbers_are_read_as_objects_are(rows: list[list[Any]]) -> None:
    """The short way for rows of nothing but numbers says the same as the long one."""
    columns = [
        ColumnProfile(name=name, type=type) for name, type in (("a", "number"), ("b", "integer"), ("c", "number"))
    ]

    def read(rows: list[Any]) -> Any:
        try:
            return {
                name: (column.kind, column.values.tolist()) for name, column in frame_of_rows(rows, columns).items()
            }
        except InvalidRows as error:
            return error.problems

    assert read(rows) == read([dict(zip("abc", row, strict=True)) for row in rows])
