"""What a spec asks of a data set, checked without reading a row."""

from typing import Any

import numpy as np
import pytest

from service.data.checks import check_columns, check_shape, input_shape_of, target_of
from service.data.collector import DISTINCT_LIMIT
from service.data.features import Features
from service.data.profile import ColumnProfile, ValueCount
from service.data.target import TargetCodec
from service.data.target_checks import MAX_CLASSES
from service.errors import InvalidSpec
from service.spec import JobSpec
from tests.support.uploaded import Uploader, spec_of

P0 = "data.preprocessing[0].columns[0]"


def counts(*values: Any) -> list[ValueCount]:
    return [ValueCount(value=value, count=3) for value in values]


COLUMNS = [
    ColumnProfile(name="age", type="integer", distinct=3, categories=counts(1, 2, 3)),
    ColumnProfile(name="income", type="number", distinct=9),
    ColumnProfile(name="work", type="category", missing=2, distinct=2, categories=counts("a", "b")),
    ColumnProfile(name="town", type="category", distinct=3, categories=counts("x", "y", "z")),
    ColumnProfile(name="gap", type="number", missing=1, distinct=5),
    ColumnProfile(name="far", type="number", infinite=2, distinct=5),
    ColumnProfile(name="image", type="tensor", shape=(28, 28), dtype="uint8"),
    ColumnProfile(name="vector", type="tensor", shape=(4,), dtype="float64"),
    ColumnProfile(name="prose", type="category"),
    ColumnProfile(name="flag", type="boolean", distinct=2, categories=counts(False, True)),
    ColumnProfile(name="one", type="category", distinct=1, categories=counts("a")),
]


def found(loss: str = "cross_entropy", **data: Any) -> list[tuple[str, str]]:
    data = {"target": "town", "features": ["age"], **data}
    return [(problem.path, problem.message) for problem in check_columns(spec_of(loss, **data), COLUMNS)]


def test_what_fits_has_no_problems() -> None:
    assert found() == []
    assert found("mse", target="income") == []
    assert found("mse", target=["income", "age"], features=["vector"]) == []
    assert found("mse", target="vector") == []
    assert found("binary_cross_entropy", target="flag") == []
    assert found(features=["image"]) == []
    assert found(features=["age", "income", "vector", "flag"], preprocessing="standardize") == []
    assert found(target="flag", features=["work", "gap"], preprocessing=FILLED) == []


FILLED = ["impute", {"type": "impute", "strategy": "most_frequent"}, "one_hot"]


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        ({"target": "twon"}, "data.target", "did you mean 'town'"),
        ({"features": ["age", "incme"]}, "data.features[1]", "did you mean 'income'"),
        ({"features": ["age", "town"]}, "data.features[1]", "is the target"),
        ({"features": ["age", "age"]}, "data.features[1]", "twice"),
        ({"preprocessing": [{"type": "standardize", "columns": ["agee"]}]}, P0, "did you mean 'age'"),
        ({"preprocessing": [{"type": "standardize", "columns": ["town"]}]}, P0, "target_preprocessing"),
        ({"preprocessing": [{"type": "standardize", "columns": ["income"]}]}, P0, "not among data.features"),
        ({"features": ["work"], "preprocessing": [{"type": "min_max", "columns": ["work"]}]}, P0, "categories"),
        ({"features": ["work"], "preprocessing": "one_hot"}, "data.preprocessing[0]", "'work' has missing values"),
        ({"features": ["town"], "target": "flag"}, "data.preprocessing", "'town' holds categories; add a \"one_hot\""),
        ({"features": ["gap"]}, "data.preprocessing", "'gap' has 1 missing values; add an \"impute\""),
        ({"features": ["far"]}, "data.features", "'far' has 2 infinite values"),
        ({"features": ["prose"], "preprocessing": "one_hot"}, "data.preprocessing[0]", "'prose' has more than 1,000"),
        ({"features": ["image", "age"]}, "data.features", "must be the only feature"),
        ({"target": ["town", "flag"]}, "data.target", "one target column"),
        ({"target": "income"}, "data.target", "regression loss"),
        ({"target": "prose"}, "data.target", "more than 10,000"),
        ({"target": "work"}, "data.target", "2 missing"),
        ({"target": "image"}, "data.target", "tensors of shape [28, 28]"),
        ({"target": "one"}, "data.target", "only one class"),
        ({"target_preprocessing": "standardize"}, "data.target_preprocessing", "regression"),
        ({"loss": "mse", "target": "flag"}, "data.target", "true and false"),
        ({"loss": "mse"}, "data.target", "holds categories"),
        ({"loss": "mse", "target": "gap"}, "data.target", "1 missing"),
        ({"loss": "mse", "target": "far"}, "data.target", "2 missing or infinite"),
        ({"loss": "mse", "target": "image"}, "data.target", "a vector would do"),
        ({"loss": "mse", "target": ["income", "incom"]}, "data.target[1]", "did you mean 'income'"),
        ({"loss": "mse", "target": "income", "split": {"stratify": True}}, "data.split.stratify", "classes"),
        ({"loss": "binary_cross_entropy"}, "loss", ""),
    ],
    ids=lambda value: str(value)[:40],
)
def test_problems(data: dict[str, Any], path: str, message: str) -> None:
    problems = found(**data)
    assert [where for where, _ in problems] == [path]
    assert message in problems[0][1]


def test_all_problems_come_at_once() -> None:
    step = {"type": "standardize", "columns": ["nothing"]}
    problems = found(target="twon", features=["work", "gapp", "town"], preprocessing=[step])
    assert [path for path, _ in problems] == [
        "data.target",
        "data.features[1]",
        "data.preprocessing[0].columns[0]",
        "data.preprocessing",
        "data.preprocessing",
        "data.preprocessing",
    ]


def test_without_features_every_column_but_the_target_is_one() -> None:
    spec = spec_of(target="y", preprocessing="one_hot")
    columns = [COLUMNS[0], COLUMNS[3], ColumnProfile(name="y", type="integer", distinct=2, categories=counts(0, 1))]
    assert check_columns(spec, columns) == []
    assert input_shape_of(spec, columns) == (4,)
    assert [p.message for p in check_columns(spec, columns[2:])] == ["there is no feature column"]


def test_rows_must_suffice_for_the_parts() -> None:
    spec = spec_of(target="town", features=["age"], split={"validation": 0.1, "test": 0.1})
    assert check_columns(spec, COLUMNS, rows=3) == []
    assert [problem.path for problem in check_columns(spec, COLUMNS, rows=2)] == ["data.split"]


def test_as_many_classes_as_are_counted_may_be_predicted() -> None:
    assert MAX_CLASSES == DISTINCT_LIMIT


def test_targets() -> None:
    assert target_of(spec_of(target="town", features=["age"]), COLUMNS).classes == ("x", "y", "z")
    assert target_of(spec_of(target="flag", features=["age"]), COLUMNS).classes == (False, True)
    assert target_of(spec_of("mse", target=["income", "age"]), COLUMNS).columns == 2
    assert target_of(spec_of("mse", target="vector"), COLUMNS).columns == 4


@pytest.mark.parametrize("data", [{"target": "twon"}, {"target": "income"}])
def test_there_is_no_target_where_there_are_problems(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec):
        target_of(spec_of(**data), COLUMNS)


def test_there_is_no_shape_where_there_are_problems() -> None:
    with pytest.raises(InvalidSpec):
        input_shape_of(spec_of(target="town"), COLUMNS)


@pytest.mark.parametrize(
    "steps",
    [
        ["impute", {"type": "impute", "strategy": "most_frequent", "indicator": True}, "one_hot", "standardize"],
        [
            {"type": "impute", "strategy": "constant", "fill_value": "none", "indicator": True},
            {"type": "impute", "strategy": "median"},
            {"type": "one_hot", "min_frequency": 20, "unknown": "ignore"},
            {"type": "one_hot", "columns": ["k"]},
        ],
    ],
)
def test_what_is_foretold_is_what_comes(upload: Uploader, steps: list[Any]) -> None:
    random = np.random.default_rng(0)
    cells = [["1.5", "?", "2"], ["a", "b", "c", "d", ""], ["3", "4", "5"], ["true", "false"], ["p", "q", "r"]]
    rows = [
        [words[i] for words, i in zip(cells, random.integers(0, [len(c) for c in cells]), strict=True)]
        for _ in range(60)
    ]
    found = upload("n,c,k,b,y\n" + "\n".join(map(",".join, rows)))
    spec = spec_of(target="y", preprocessing=steps)
    assert check_columns(spec, found.profile.columns, found.profile.rows) == []
    frame = found.read()
    features = Features.fit(spec.data, found.profile.columns, [frame])
    assert features.transform(frame).shape[1:] == features.input_shape == input_shape_of(spec, found.profile.columns)
    codec = TargetCodec.fit(spec.data, spec.loss.task, found.profile.columns, [frame])
    assert codec.target == target_of(spec, found.profile.columns)


def test_augmentation_and_mixing_are_held_against_the_shape_of_a_row() -> None:
    steps = [{"type": "random_noise", "std": 0.1}, "random_flip", {"type": "random_crop", "padding": 4}]
    body = spec_of(target="y", augmentation=steps).model_dump(mode="json")
    spec = JobSpec.model_validate({**body, "regularization": {"mixing": "cutmix"}})
    assert check_shape(spec, (1, 8, 8)) == []
    problems = check_shape(spec, (6,))
    paths = ["data.augmentation[1]", "data.augmentation[2]", "regularization.mixing"]
    assert [(p.path, p.got) for p in problems] == [(path, [6]) for path in paths]
    assert problems[0].message == "random_flip needs images, [channels, height, width]; rows have the shape [6]"
    (small,) = check_shape(spec, (1, 4, 8))
    assert (small.path, small.got) == ("data.augmentation[2]", [1, 4, 8])
    colours = spec_of(target="y", augmentation={"type": "random_saturation", "factor": 0.5})
    assert check_shape(colours, (3, 8, 8)) == []
    assert ["grey" in problem.message for problem in check_shape(colours, (1, 8, 8))] == [True]
