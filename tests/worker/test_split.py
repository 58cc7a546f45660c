"""How rows are divided: every row in one part, the shares that were asked for, the same for the same seed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from service.data.frame import Column, Frame
from service.errors import InvalidSpec
from service.spec import JobSpec
from tests.support.uploaded import spec_of
from worker.split import Parts, divide, split


def specified(loss: str = "cross_entropy", seed: int = 0, **data: Any) -> JobSpec:
    spec = spec_of(loss, **{"target": "target", **data})
    return spec.model_copy(update={"training": spec.training.model_copy(update={"seed": seed})})


def frame_of(**columns: list[Any] | NDArray[Any]) -> Frame:
    """Columns of text or numbers."""
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    return {
        name: Column("category", values.astype(object)) if values.dtype.kind == "U" else Column("number", values * 1.0)
        for name, values in arrays.items()
    }


def everything(parts: Parts) -> list[int]:
    return sorted(np.concatenate([parts.train, parts.validation, parts.test]).tolist())


FRACTIONS = st.floats(0, 0.5, exclude_max=True)


@given(
    rows=st.integers(3, 400),
    classes=st.integers(1, 5),
    validation=FRACTIONS,
    test=FRACTIONS,
    seed=st.integers(0, 2**63 - 1),
    stratify=st.sampled_from([True, False, "auto"]),
)
def test_every_row_is_in_one_part(
    rows: int, classes: int, validation: float, test: float, seed: int, stratify: bool | str
) -> None:
    spec = specified(seed=seed, split={"validation": validation, "test": test, "stratify": stratify})
    y = np.arange(rows) % classes
    try:
        parts = split(spec, rows, y)
    except InvalidSpec:
        assert round(rows * validation + 0.5) + round(rows * test + 0.5) >= rows - 1
        return
    together = np.concatenate([parts.train, parts.validation, parts.test])
    assert np.array_equal(np.sort(together), np.arange(rows))
    assert len(parts.train) > 0
    for part, share in ((parts.validation, validation), (parts.test, test)):
        assert (len(part) > 0) == (share > 0)
        assert abs(len(part) - rows * share) <= 1
        assert np.array_equal(part, np.sort(part))


@pytest.mark.parametrize("seed", range(20))
def test_stratified_parts_have_the_shares_of_the_whole(seed: int) -> None:
    y = np.repeat([0, 1, 2], [700, 250, 50])
    np.random.default_rng(seed).shuffle(y)
    parts = split(specified(seed=seed, split={"validation": 0.2, "test": 0.1}), 1000, y)
    for part, share in ((parts.train, 0.7), (parts.validation, 0.2), (parts.test, 0.1)):
        assert np.abs(np.bincount(y[part]) - np.array([700, 250, 50]) * share).max() <= 2


@given(
    sizes=st.lists(st.integers(3, 60), min_size=2, max_size=8),
    validation=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
    seed=st.integers(0, 2**63 - 1),
)
def test_no_class_is_more_than_two_rows_off_its_share(
    sizes: list[int], validation: float, test: float, seed: int
) -> None:
    y = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(seed).shuffle(y)
    parts = split(specified(seed=seed, split={"validation": validation, "test": test}), len(y), y)
    for part in (parts.train, parts.validation, parts.test):
        expected = np.array(sizes) * len(part) / len(y)
        assert np.abs(np.bincount(y[part], minlength=len(sizes)) - expected).max() <= 2


def test_classes_too_rare_for_every_part_are_not_stratified_unless_asked() -> None:
    y = np.repeat([0, 1], [98, 2])
    shares = {"validation": 0.2, "test": 0.2}
    auto, wanted, never = (split(specified(split={**shares, "stratify": how}), 100, y) for how in ("auto", True, False))
    assert np.array_equal(auto.test, never.test)
    assert not np.array_equal(auto.test, wanted.test)


def test_a_regression_is_not_stratified() -> None:
    with_classes = split(specified(split={"stratify": False}), 50, np.arange(50) % 2)
    assert np.array_equal(split(specified("mse"), 50).train, with_classes.train)


def test_the_division_follows_from_the_seed_alone() -> None:
    y: NDArray[Any] = np.arange(100) % 3
    first = split(specified(seed=1), 100, y)
    assert np.array_equal(first.train, split(specified(seed=1), 100, y).train)
    assert not np.array_equal(first.train, split(specified(seed=2), 100, y).train)
    own = split(specified(seed=2, split={"seed": 1}), 100, y)
    assert np.array_equal(first.train, own.train)


def test_the_division_stays_what_it_was() -> None:
    """A changed division would give other weights to specs that were run before."""
    plain = split(specified(split={"validation": 0.3, "stratify": False}), 10, np.arange(10) % 2)
    assert plain.validation.tolist() == GOLDEN_PLAIN
    even = split(specified(split={"validation": 0.3}), 10, np.arange(10) % 2)
    assert even.validation.tolist() == GOLDEN_STRATIFIED


GOLDEN_PLAIN = [2, 4, 9]
GOLDEN_STRATIFIED = [4, 5, 9]


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InvalidSpec) as caught:
        split(specified(split={"validation": 0.4, "test": 0.4}), 2)
    assert caught.value.problems[0].path == "data.split"


@given(
    sizes=st.lists(st.integers(1, 40), min_size=3, max_size=60),
    validation=FRACTIONS,
    test=FRACTIONS,
    seed=st.integers(0, 2**63 - 1),
)
def test_groups_stay_together_and_the_shares_are_near(
    sizes: list[int], validation: float, test: float, seed: int
) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(seed).shuffle(groups)
    spec = specified(seed=seed, split={"group": "who", "validation": validation, "test": test})
    try:
        parts = divide(spec, frame_of(who=groups))
    except InvalidSpec:
        # At least one row a part that is asked for may leave none of the few rows to training.
        assert len(groups) * (1 - validation - test) < 2
        return
    assert everything(parts) == list(range(len(groups)))
    found = [set(groups[part].tolist()) for part in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, found)) == len(sizes)
    assert found[0]
    for part, share in ((parts.validation, validation), (parts.test, test)):
        assert (len(part) > 0) == (share > 0)
        assert abs(len(part) - len(groups) * share) <= 2 * max(sizes) + 1


def test_groups_of_one_row_give_the_exact_shares() -> None:
    spec = specified(split={"group": "who", "validation": 0.2, "test": 0.1})
    parts = divide(spec, frame_of(who=[f"person {i}" for i in range(100)]))
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [70, 20, 10]


def test_the_groups_of_a_part_follow_from_the_seed() -> None:
    frame = frame_of(who=np.repeat(np.arange(50), 4))
    one, again, other = (divide(specified(seed=seed, split={"group": "who"}), frame) for seed in (1, 1, 2))
    assert np.array_equal(one.validation, again.validation)
    assert not np.array_equal(one.validation, other.validation)


def test_fewer_groups_than_parts_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="2 groups cannot be divided into 3 parts"):
        divide(specified(split={"group": "who", "test": 0.1}), frame_of(who=["a", "b"] * 10))


def test_every_part_gets_a_group_however_large_one_of_them_is() -> None:
    groups = np.repeat([0, 1, 2], [98, 1, 1])
    parts = divide(specified(split={"group": "who", "validation": 0.2, "test": 0.1}), frame_of(who=groups))
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [98, 1, 1]


def test_a_column_says_where_every_row_goes() -> None:
    parts = divide(specified(split={"column": "part"}), frame_of(part=["test", "train", "validation", "train"]))
    assert [part.tolist() for part in (parts.train, parts.validation, parts.test)] == [[1, 3], [2], [0]]


def test_a_fraction_beside_a_column_takes_from_its_training_rows() -> None:
    part = np.array(["train"] * 80 + ["test"] * 20)
    y = np.arange(100) % 4
    parts = divide(specified(split={"column": "part", "validation": 0.25}), frame_of(part=part), y)
    assert parts.test.tolist() == list(range(80, 100))
    assert len(parts.validation) == 20 and everything(parts) == list(range(100))
    assert np.bincount(y[parts.validation]).tolist() == [5, 5, 5, 5]


def test_a_part_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="holds 'dev', which is no part"):
        divide(specified(split={"column": "part"}), frame_of(part=["train", "dev"]))


def test_rows_in_order_are_tested_on_the_last() -> None:
    spec = specified("mse", split={"shuffle": False, "validation": 0.2, "test": 0.1})
    parts = split(spec, 10)
    assert [part.tolist() for part in (parts.train, parts.validation, parts.test)] == [[*range(7)], [7, 8], [9]]


def test_classes_do_not_take_rows_out_of_their_order() -> None:
    parts = split(specified(split={"shuffle": False}), 10, np.arange(10) % 2)
    assert parts.validation.tolist() == [8, 9]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"column": "a", "group": "b"}, "exclude each other"),
        ({"group": "b", "stratify": True}, "group and stratify"),
        ({"group": "b", "shuffle": False}, "group needs shuffle"),
        ({"stratify": True, "shuffle": False}, "stratify needs shuffle"),
        ({"validation": 0.5, "test": 0.5}, "leave rows to train on"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        specified(split=fields)


def test_a_column_alone_holds_no_other_rows_back() -> None:
    spec = specified(split={"column": "part"})
    assert spec.data.split.validation == 0
    assert JobSpec.model_validate(spec.canonical()).sha256() == spec.sha256()
