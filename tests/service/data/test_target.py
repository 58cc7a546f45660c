"""Targets: classes and numbers, there and back."""

from typing import Any

import numpy as np
import orjson
import pytest

from service.data.frame import Column, take
from service.data.profile import ColumnProfile
from service.data.target import TargetCodec
from service.errors import InvalidSpec
from tests.support.uploaded import Uploader, spec_of


def stored(codec: TargetCodec) -> TargetCodec:
    return TargetCodec.from_json(orjson.loads(orjson.dumps(codec.to_json())))


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["10", "9", "-1", "9"], (-1, 9, 10)),
        (["2.0", "1.0", "10.0", "1.0"], (1.0, 2.0, 10.0)),
        (["b", "a", "10", "9"], ("10", "9", "a", "b")),
        (["true", "false", "true", "false"], (False, True)),
        (["007", "7", "007", "7"], ("007", "7")),
        ([str(2**60), str(2**60 + 1)] * 2, (str(2**60), str(2**60 + 1))),
    ],
    ids=str,
)
def test_classes_keep_their_order_and_type(upload: Uploader, cells: list[str], classes: tuple[Any, ...]) -> None:
    found = upload("x,y\n" + "".join(f"1,{cell}\n" for cell in cells))
    codec = TargetCodec.fit(spec_of(target="y").data, "classification", found.profile.columns, [found.read()])
    for one in (codec, stored(codec)):
        assert one.classes == classes
        assert [type(value) for value in one.classes or ()] == [type(value) for value in classes]
        assert (one.columns, one.target.classes, one.names) == (1, classes, ("y",))
        y = one.encode(found.read())
        assert y.dtype == np.int64
        words = [str(classes[i]) for i in y]
        assert words == [str(eval(cell.title())) if cell in ("true", "false") else cell for cell in cells]


def test_classes_are_those_of_the_data_set_not_of_the_training_rows(upload: Uploader) -> None:
    found = upload("x,y\n1,a\n2,b\n3,c\n")
    some = take(found.read(), np.array([1]))
    codec = TargetCodec.fit(spec_of(target="y").data, "classification", found.profile.columns, [some])
    assert codec.classes == ("a", "b", "c")
    assert codec.encode(some).tolist() == [1]


@pytest.mark.parametrize("how", [None, "standardize", "min_max"])
@pytest.mark.parametrize("targets", [["a"], ["b", "a"]])
def test_numbers_come_back_in_their_own_units(upload: Uploader, how: str | None, targets: list[str]) -> None:
    found = upload("x,a,b\n1,10,0.5\n2,20,-1\n3,60,7\n")
    frame = found.read()
    spec = spec_of("mse", target=targets, target_preprocessing=how)
    codec = stored(TargetCodec.fit(spec.data, "regression", found.profile.columns, [frame]))
    raw = np.stack([frame[name].values for name in targets], 1)
    y = codec.encode(frame)
    assert (y.shape, y.dtype, codec.columns, codec.classes) == ((3, len(targets)), np.float32, len(targets), None)
    if how == "standardize":
        assert np.allclose(y, (raw - raw.mean(0)) / raw.std(0))
    if how == "min_max":
        assert (y.min(0) == 0).all() and (y.max(0) == 1).all()
    if how is None:
        assert np.array_equal(y, raw)
    assert np.allclose(codec.decode(y), raw, rtol=1e-6)
    assert codec.decode(np.zeros((4, 5, len(targets)))).shape == (4, 5, len(targets))
    assert codec.target.columns == len(targets)


def test_scaling_is_learned_from_the_training_rows(upload: Uploader) -> None:
    found = upload("x,y\n1,0\n2,2\n3,100\n")
    spec = spec_of("mse", target="y", target_preprocessing="standardize")
    codec = TargetCodec.fit(spec.data, "regression", found.profile.columns, [take(found.read(), np.array([0, 1]))])
    assert codec.encode(found.read())[:, 0].tolist() == [-1, 1, 99]


@pytest.mark.parametrize("how", ["standardize", "min_max"])
def test_a_constant_target_is_not_blown_up(upload: Uploader, how: str) -> None:
    found = upload("x,y\n" + "1,0.1\n" * 7)
    spec = spec_of("mse", target="y", target_preprocessing=how)
    codec = TargetCodec.fit(spec.data, "regression", found.profile.columns, [found.read()])
    assert codec.encode(found.read()).tolist() == [[0]] * 7
    assert codec.decode([[0.0]]).tolist() == [[0.1]]


def test_a_vector_is_several_numbers() -> None:
    columns = [ColumnProfile(name="y", type="tensor", shape=(2,), dtype="float64")]
    frame = {"y": Column("tensor", np.array([[1.0, 2.0], [3.0, 4.0]]))}
    codec = TargetCodec.fit(spec_of("mse", target="y").data, "regression", columns, [frame])
    assert codec.columns == 2 and codec.encode(frame).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("loss", "table", "message"),
    [
        ("cross_entropy", "x,y\n1,a\n2,?\n3,b\n", "'y' has missing values"),
        ("cross_entropy", "x,y\n1,1\n2,\n3,2\n", "'y' has missing values"),
        ("cross_entropy", "x,y\n1,1.5\n2,2\n", "no classes that are known"),
        ("mse", "x,y\n1,1.5\n2,?\n", "'y' has missing or infinite values"),
        ("mse", "x,y\n1,1.5\n2,inf\n", "'y' has missing or infinite values"),
        ("mse", "x,y\n1,a\n2,b\n", "'y' holds categories"),
    ],
)
def test_what_cannot_be_a_target_is_refused_by_name(upload: Uploader, loss: str, table: str, message: str) -> None:
    found = upload(table)
    spec = spec_of(loss, target="y")
    with pytest.raises(InvalidSpec, match=message) as caught:
        TargetCodec.fit(spec.data, spec.loss.task, found.profile.columns, [found.read()]).encode(found.read())
    assert caught.value.problems[0].path == "data.target"


def test_a_value_that_is_no_class_is_refused(upload: Uploader) -> None:
    found = upload("x,y\n1,a\n2,b\n")
    codec = TargetCodec.fit(spec_of(target="y").data, "classification", found.profile.columns, [found.read()])
    with pytest.raises(InvalidSpec, match="'z', which is not one of its classes"):
        codec.encode({"y": Column("category", np.array(["a", "z"], object))})
