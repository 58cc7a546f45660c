"""Columns in one pass: counted or summed up, in whatever pieces, the result is the same."""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.data import collector
from service.data.collector import DISTINCT_LIMIT, LONGEST_VALUE, Collector
from service.data.moments import Moments
from service.data.profile import VALUES_SHOWN, ColumnProfile
from service.data.reader import Format
from service.data.table import LISTED_BUDGET, TRACKED_BUDGET, TableCollector


def collected(pieces: Sequence[Sequence[object]], *, written: bool = True, fold: int | None = None) -> ColumnProfile:
    column = Collector("x", written=written)
    for i, piece in enumerate(pieces):
        if i == fold:
            column.fold()
        column.add(pl.Series(piece, dtype=pl.String if written else None))
    return column.finish()


CELLS = st.sampled_from(["1", "2", "-3", "1.5", "1e3", "?", "", " 7", "inf", "nan", "007", "x", "true", str(2**60)])


@given(pieces=st.lists(st.lists(CELLS, min_size=1, max_size=5), min_size=1, max_size=5), fold=st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_counting_and_summing_agree(pieces: list[list[str]], fold: int) -> None:
    counted, summed = collected(pieces), collected(pieces, fold=fold)
    if counted.type == "boolean":
        return  # of two values, so never folded
    left_out = {"mean", "std", "distinct", "categories"}
    assert counted.model_dump(exclude=left_out) == summed.model_dump(exclude=left_out)
    if counted.mean is not None:
        assert (summed.mean, summed.std) == pytest.approx((counted.mean, counted.std), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("rows", [collector.FEW_ROWS, collector.FEW_ROWS + 1])
def test_both_ways_of_counting_agree(rows: int) -> None:
    words = [str(i % 7) for i in range(rows)]
    found = collected([words])
    assert found.distinct == 7
    assert sum(item.count for item in found.categories or ()) == rows


@pytest.mark.parametrize(("distinct", "known"), [(DISTINCT_LIMIT, True), (DISTINCT_LIMIT + 1, False)])
@pytest.mark.parametrize("piece", [4_000, 100_000])
def test_values_are_counted_up_to_a_limit(distinct: int, known: bool, piece: int) -> None:
    words = [*map(str, range(distinct)), "", "0"]
    found = collected([words[start : start + piece] for start in range(0, len(words), piece)])
    assert found.distinct == (distinct if known else None)
    assert (found.missing, found.max, found.type) == (1, distinct - 1, "integer")


def test_prose_is_not_counted() -> None:
    found = collected([["short"], ["x" * (LONGEST_VALUE + 1)]])
    assert (found.type, found.distinct, found.categories) == ("category", None, None)


def test_numbers_with_not_a_number_among_them() -> None:
    for rows in (10, collector.FEW_ROWS + 10):
        found = collected([[1.0, math.nan] * (rows // 2)], written=False)
        assert (found.missing, found.distinct, found.type) == (rows // 2, 1, "number")


def test_the_most_frequent_values_come_first_then_the_least() -> None:
    found = collected([["b", "a", "c", "c"]])
    assert [item.value for item in found.categories or ()] == ["c", "a", "b"]
    assert found.values == ("a", "b", "c")


def test_values_are_sorted_as_numbers() -> None:
    assert collected([["10", "9", "-1"]]).values == (-1, 9, 10)
    assert collected([["true", "false"]]).values == (False, True)


def test_shown_profiles_are_short() -> None:
    text = collected([[f"w{i}" for i in range(500)] + ["w7"]]).shown()
    assert text.categories is not None and len(text.categories) == VALUES_SHOWN
    assert text.categories[0].value == "w7" and text.distinct == 500
    assert collected([[str(i) for i in range(101)]]).shown().categories is None
    assert len(collected([[str(i) for i in range(100)]]).shown().categories or ()) == 100


def test_a_profile_survives_json() -> None:
    for cells in (["1", "2"], ["true", "NA"], ["1.0", "2.0"], ["a", "007"]):
        found = collected([cells])
        again = ColumnProfile.model_validate_json(found.model_dump_json())
        assert again == found
        assert [type(value) for value in again.values or ()] == [type(value) for value in found.values or ()]


def test_a_wide_table_keeps_its_budget_and_the_columns_with_few_values() -> None:
    width = 2 * TRACKED_BUDGET // 1000
    table = TableCollector([Collector(f"x{i}", written=True) for i in range(width)] + [Collector("y", written=True)])
    words = pl.Series([str(i) for i in range(1000)])
    table.add([words] * width + [pl.Series(["a", "b"] * 500)])
    assert sum(column.tracked for column in table.columns) <= TRACKED_BUDGET
    profile = table.finish(1000, Format.CSV)
    assert profile.columns[-1].distinct == 2
    assert sum(len(column.categories or ()) for column in profile.columns) <= LISTED_BUDGET
    assert all((c.min, c.max, c.type) == (0, 999, "integer") for c in profile.columns[:-1])


def test_text_is_listed_before_numbers() -> None:
    size = LISTED_BUDGET // 3
    numbers = [Collector(f"n{i}", written=True) for i in range(3)]
    table = TableCollector([*numbers, Collector("t", written=True)])
    table.add([pl.Series([str(i) for i in range(size)])] * 3 + [pl.Series([f"w{i}" for i in range(size)])])
    listed = [column.categories is not None for column in table.finish(size, Format.CSV).columns]
    assert listed == [True, True, False, True]


@given(
    pieces=st.lists(
        st.lists(st.floats(-1e6, 1e6), max_size=20).map(lambda values: np.array(values, np.float64)), max_size=6
    ),
    weight=st.integers(1, 5),
)
@settings(max_examples=150, deadline=None)
def test_moments_are_those_of_the_whole(pieces: list[np.ndarray], weight: int) -> None:
    moments = Moments()
    for piece in pieces:
        moments.add(piece, np.full(len(piece), weight))
    whole = np.concatenate([np.zeros(0), *pieces])
    found = moments.summary()
    if not len(whole):
        assert set(found.values()) == {None}
        return
    assert (found["min"], found["max"]) == (whole.min(), whole.max())
    assert found["mean"] == pytest.approx(whole.mean(), rel=1e-9, abs=1e-9)
    assert found["std"] == pytest.approx(whole.std(), rel=1e-7, abs=1e-7)


def test_moments_keep_their_digits_far_from_zero() -> None:
    values = 1e9 + np.random.default_rng(0).normal(size=10_000)
    moments = Moments()
    for piece in np.split(values, 100):
        moments.add(piece)
    assert moments.summary()["std"] == pytest.approx(values.std(), rel=1e-7)


def test_statistics_beyond_float64_are_left_out() -> None:
    found = collected([["1e308", "-1e308", "1.7e308"]])
    assert (found.min, found.max, found.std) == (-1e308, 1.7e308, None)
    found.model_dump_json()
