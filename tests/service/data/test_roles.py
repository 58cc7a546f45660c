"""Columns that divide or weigh the rows: which can, which cannot, and what is said of those."""

from typing import Any

import pytest

from service.data.checks import check_columns
from service.data.facts import features_of
from tests.support.uploaded import Uploaded, Uploader, spec_of

CSV = """\
a,b,who,part,odd,weight,below,zero,hole,flag,target
1,2,x,train,train,1,1,0,1,true,0
2,3,x,train,dev,2.5,1,0,,false,1
3,4,y,test,test,0,-1,0,1,true,0
4,5,z,validation,,3,1,0,1,false,1
"""


@pytest.fixture
def found(upload: Uploader) -> Uploaded:
    return upload(CSV)


def problems_of(found: Uploaded, loss: str = "cross_entropy", **data: Any) -> list[tuple[str, str]]:
    spec = spec_of(loss, target="target", features=["a", "b"], **data)
    return [(problem.path, problem.message) for problem in check_columns(spec, found.profile.columns, 4)]


def test_what_divides_or_weighs_is_no_feature_unless_listed(found: Uploaded) -> None:
    columns = found.profile.columns
    data = spec_of(target="target", split={"group": "who"}, sample_weight="weight").data
    names = [column.name for column in features_of(data, columns)]
    assert names == ["a", "b", "part", "odd", "below", "zero", "hole", "flag"]
    data = spec_of(target="target", split={"column": "part"}, features=["a", "who"]).data
    assert [column.name for column in features_of(data, columns)] == ["a", "who"]


@pytest.mark.parametrize(
    "data",
    [
        {"split": {"group": "who"}},
        {"split": {"group": "a"}},
        {"split": {"column": "part"}},
        {"sample_weight": "weight"},
        {"sample_weight": "b"},
    ],
)
def test_columns_that_can(found: Uploaded, data: dict[str, Any]) -> None:
    if data.get("sample_weight") == "b":
        data = data | {"preprocessing": []}
        spec = spec_of(target="target", features=["a"], **data)
        assert check_columns(spec, found.profile.columns, 4) == []
    else:
        assert problems_of(found, **data) == []


@pytest.mark.parametrize(
    ("data", "path", "words"),
    [
        ({"split": {"group": "whom"}}, "data.split.group", "there is no column 'whom'; did you mean 'who'?"),
        ({"split": {"group": "target"}}, "data.split.group", "'target' is the target"),
        ({"split": {"group": "hole"}}, "data.split.group", "lacks a value in 1 rows"),
        ({"split": {"group": "flag", "test": 0.2}}, "data.split.group", "has 2 groups, too few for 3 parts"),
        ({"split": {"column": "parts"}}, "data.split.column", "did you mean 'part'?"),
        ({"split": {"column": "flag"}}, "data.split.column", "holds true and false, not parts"),
        ({"split": {"column": "a"}}, "data.features[0]", "it cannot be a feature"),
        ({"split": {"column": "odd"}}, "data.split.column", "lacks a value in 1 rows"),
        ({"split": {"column": "who"}}, "data.split.column", "holds 'x', which is no part"),
        ({"split": {"column": "part", "test": 0.1}}, "data.split.test", "names the test rows already"),
        ({"split": {"column": "part", "validation": 0.1}}, "data.split.validation", "contradicts column 'part'"),
        ({"sample_weight": "wait"}, "data.sample_weight", "there is no column 'wait'"),
        ({"sample_weight": "target"}, "data.sample_weight", "'target' is the target"),
        ({"sample_weight": "a"}, "data.features[0]", "'a' is data.sample_weight; it cannot be a feature"),
        ({"sample_weight": "below"}, "data.sample_weight", "has negative weights, down to -1"),
        ({"sample_weight": "zero"}, "data.sample_weight", "has only zeros"),
        ({"sample_weight": "hole"}, "data.sample_weight", "has 1 missing or infinite values"),
        ({"sample_weight": "who"}, "data.sample_weight", "holds categories, not numbers"),
    ],
)
def test_columns_that_cannot(found: Uploaded, data: dict[str, Any], path: str, words: str) -> None:
    assert [where for where, message in problems_of(found, **data) if words in message] == [path]


def test_every_value_that_is_no_part_is_named(found: Uploaded) -> None:
    said = " ".join(message for _, message in problems_of(found, split={"column": "who"}))
    assert all(repr(value) in said for value in "xyz")


def test_a_column_without_training_rows_is_refused(upload: Uploader) -> None:
    found = upload("a,b,part,target\n1,1,test,0\n2,2,test,1\n3,3,validation,0\n4,4,test,1\n")
    assert problems_of(found, split={"column": "part"}) == [
        ("data.split.column", "column 'part' leaves no rows to train on")
    ]
