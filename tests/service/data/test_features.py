"""Features: raw columns to tensors, the same for a data set, a request and a model that was stored."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.data.features import Features
from service.data.frame import Column, Frame, take
from service.data.profile import ColumnProfile
from service.errors import InvalidRows, InvalidSpec
from tests.support.uploaded import Uploaded, Uploader, spec_of

TABLE = "n,c,b,y\n" + "".join(f"{i},{'xyz'[i % 3]},{'true' if i % 2 else 'false'},{i % 2}\n" for i in range(12))
GAPS = "n,c,y\n1,x,0\n?,y,1\n3,?,0\n5,x,1\n"


def fit(found: Uploaded, **data: Any) -> tuple[Features, Frame]:
    data = {"target": "y", **data}
    frame = found.read()
    return Features.fit(spec_of(**data).data, found.profile.columns, [frame]), frame


def stored(features: Features) -> Features:
    return Features.from_json(orjson.loads(orjson.dumps(features.to_json())))


def test_numbers_and_codes_stand_side_by_side_in_the_order_of_the_columns(upload: Uploader) -> None:
    features, frame = fit(upload(TABLE), preprocessing=["one_hot", "standardize"])
    x = features.transform(frame)
    assert features.input_shape == (5,)
    assert (x.shape, x.dtype, x.flags.c_contiguous) == ((12, 5), np.float32, True)
    n = np.arange(12)
    assert np.allclose(x[:, 0], (n - n.mean()) / n.std())
    assert x[:, 1:4].argmax(1).tolist() == [0, 1, 2] * 4
    assert x[:, 4].tolist() == [0, 1] * 6, "true and false are codes, which are not scaled"


def test_features_of_the_spec_in_its_order(upload: Uploader) -> None:
    features, frame = fit(upload(TABLE), features=["b", "n"])
    assert [column.name for column in features.columns] == ["b", "n"]
    assert features.transform(frame)[3].tolist() == [1, 3]


@pytest.mark.parametrize("steps", [[], ["standardize"], ["min_max"], ["standardize", "min_max"]])
def test_a_row_of_a_request_gives_the_bits_of_the_row_of_the_file(
    upload: Uploader, wine_csv: bytes, steps: list[str]
) -> None:
    found = upload(wine_csv)
    features, frame = fit(found, target="target", preprocessing=steps)
    features = stored(features)
    x = features.transform(frame)
    names = [column.name for column in features.columns]
    rows = [[float(frame[name].values[i]) for name in names] for i in range(10)]
    assert np.array_equal(features.transform(features.read_rows(rows)), x[:10])
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    assert np.array_equal(features.transform(features.read_rows(objects[3:4])), x[3:4])
    for asked in (rows, objects, [rows[0], *objects[1:]], [dict(reversed(row.items())) for row in objects]):
        made = features.of_rows(asked)
        assert (made.dtype, made.flags.c_contiguous, made.tobytes()) == (np.float32, True, x[:10].tobytes())


CELLS = st.one_of(
    st.integers(-3, 3), st.floats(-1e300, 1e300), st.sampled_from([-0.0, 1e39, 5e-324, 2**53 + 1, 10**400, math.nan]),
    st.sampled_from([math.inf, True, None, "1", [1.0], {}]),
)  # fmt: skip
STEPS = st.lists(st.sampled_from(["impute", "standardize", "min_max", "channel_mean", "pca_whitening"]), max_size=3)


def test_what_a_step_makes_too_large_is_refused_by_name() -> None:
    names = ["a", "b", "c"]
    table = Frame({name: Column("number", np.array([1.0, 2.5, -4.0]) * (i + 1)) for i, name in enumerate(names)})
    columns = [*(ColumnProfile(name=name, type="number") for name in names), ColumnProfile(name="y", type="integer")]
    features = Features.fit(spec_of(target="y", preprocessing=["pca_whitening"]).data, columns, [table])
    with pytest.raises(InvalidRows, match=r"rows\[0\]"):
        features.of_rows([[0, 0, 2.01477729456906e37]])


@given(data=st.data(), steps=STEPS)
def test_rows_in_one_piece_are_what_they_are_column_by_column(data: st.DataObject, steps: list[str]) -> None:
    """Whatever the rows hold: the same bits, or the same problems."""
    names = ["a", "b", "c"]
    table = Frame({name: Column("number", np.array([1.0, 2.5, -4.0]) * (i + 1)) for i, name in enumerate(names)})
    columns = [ColumnProfile(name="a", type="integer"), *(ColumnProfile(name=name, type="number") for name in "bc")]
    columns.append(ColumnProfile(name="y", type="integer"))
    spec = spec_of(target="y", preprocessing=steps).data
    features = Features.fit(spec, columns, [table])
    row = st.lists(CELLS, min_size=3, max_size=3)
    odd = st.one_of(st.lists(CELLS, max_size=4), st.dictionaries(st.sampled_from("abcd"), CELLS), st.none())
    finite = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3)
    objects = st.one_of(finite, row).map(lambda cells: dict(zip(names, cells, strict=True)))
    rows = data.draw(st.lists(st.one_of(finite, finite, objects, row, odd), max_size=3))
    assert _outcome(lambda: features.of_rows(rows)) == _outcome(lambda: features.transform(features.read_rows(rows)))


def _outcome(read: Callable[[], Any]) -> Any:
    try:
        made = read()
    except InvalidRows as error:
        return repr(error.problems)
    return made.shape, made.dtype, made.tobytes()


def test_missing_values_and_categories_end_to_end(upload: Uploader) -> None:
    steps = [
        "impute",
        {"type": "impute", "strategy": "most_frequent", "indicator": True},
        "one_hot",
        {"type": "min_max", "columns": ["n"]},
    ]
    features, frame = fit(upload(GAPS), preprocessing=steps)
    features = stored(features)
    assert features.transform(frame).tolist() == [[0, 1, 0, 0], [0.5, 0, 1, 0], [0.5, 1, 0, 1], [1, 1, 0, 0]]
    assert features.fillable == {"n", "c"}
    assert features.transform(features.read_rows([{"n": None, "c": "y"}, {}])).tolist() == [
        [0.5, 0, 1, 0],
        [0.5, 1, 0, 1],
    ]
    with pytest.raises(InvalidRows) as caught:
        features.transform(features.read_rows([{"c": "x"}, {"c": "w"}]))
    assert [problem.path for problem in caught.value.problems] == ["rows[1].c"]


def test_a_stored_model_carries_no_statistics_of_the_data(upload: Uploader) -> None:
    features, _ = fit(upload(TABLE), preprocessing=["one_hot"])
    assert all(set(column) <= {"name", "type", "shape", "dtype"} for column in features.to_json()["columns"])
    assert stored(features) == features


def test_only_the_rows_it_was_fitted_to_count(upload: Uploader) -> None:
    found = upload(TABLE)
    frame = found.read()
    some = take(frame, np.array([2, 4]))
    features = Features.fit(
        spec_of(target="y", features=["n"], preprocessing="standardize").data, found.profile.columns, [some]
    )
    assert features.transform(frame)[:6, 0].tolist() == [-3, -2, -1, 0, 1, 2]


@pytest.mark.parametrize(
    ("data", "table", "path", "names"),
    [
        ({}, TABLE, "data.preprocessing", ["c"]),
        ({"features": ["n", "c"], "preprocessing": ["one_hot"]}, GAPS, "data.preprocessing[0]", ["c"]),
        ({"features": ["n"]}, GAPS, "data.preprocessing", ["n"]),
    ],
)
def test_what_is_left_over_is_refused_by_name(
    upload: Uploader, data: dict[str, Any], table: str, path: str, names: list[str]
) -> None:
    with pytest.raises(InvalidSpec) as caught:
        fit(upload(table), **data)
    assert caught.value.problems[0].path == path
    assert [problem.got for problem in caught.value.problems][: len(names)] == names


def test_a_column_that_is_missing_in_all_training_rows_is_refused_by_name_and_step(upload: Uploader) -> None:
    found = upload(GAPS)
    frame = take(found.read(), np.array([1]))
    spec = spec_of(target="y", features=["n"], preprocessing=["impute"])
    with pytest.raises(InvalidSpec) as caught:
        Features.fit(spec.data, found.profile.columns, [frame])
    assert [(p.path, p.got) for p in caught.value.problems] == [("data.preprocessing[0]", "n")]


def test_numbers_that_float32_cannot_hold_are_refused_by_row_and_name(upload: Uploader) -> None:
    features, frame = fit(upload("a,b,y\n1,2,0\n3,1e200,1\n"))
    with pytest.raises(InvalidRows) as caught:
        features.transform(frame)
    assert [problem.path for problem in caught.value.problems] == ["rows[1].b"]


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3)).astype(np.uint8)


def image(shape: tuple[int, ...], layout: str, steps: list[Any] | None = None) -> tuple[Features, Frame]:
    values = np.resize(IMAGES, (6, *shape))
    columns = [
        ColumnProfile(name="x", type="tensor", shape=shape, dtype="uint8"),
        ColumnProfile(name="y", type="integer"),
    ]
    frame = {"x": Column("tensor", values), "y": Column("number", np.arange(6.0))}
    data = spec_of(target="y", image_layout=layout, preprocessing=steps or []).data
    return Features.fit(data, columns, [frame]), frame


@pytest.mark.parametrize(
    ("shape", "layout", "result"),
    [
        ((4, 5), "auto", (1, 4, 5)),
        ((4, 5, 3), "auto", (3, 4, 5)),
        ((4, 5, 1), "auto", (1, 4, 5)),
        ((3, 4, 5), "auto", (3, 4, 5)),
        ((4, 5, 2), "auto", (4, 5, 2)),
        ((4, 5, 2), "channels_last", (2, 4, 5)),
        ((4, 5), "channels_last", (5, 4)),
        ((4, 5, 3), "channels_first", (4, 5, 3)),
        ((4, 5), "none", (4, 5)),
        ((4, 5, 3), "none", (4, 5, 3)),
        ((7,), "auto", (7,)),
        ((2, 3, 4, 3), "auto", (2, 3, 4, 3)),
    ],
)
def test_image_layouts(shape: tuple[int, ...], layout: str, result: tuple[int, ...]) -> None:
    features, frame = image(shape, layout)
    x = features.transform(frame)
    assert features.input_shape == x.shape[1:] == result
    assert x.dtype == np.float32 and x.flags.c_contiguous
    raw = frame["x"].values
    moved = (
        np.moveaxis(raw, -1, 1)
        if layout == "channels_last" or (layout == "auto" and shape[2:] in ((3,), (1,)))
        else raw
    )
    assert np.array_equal(x, moved.reshape(6, *result))
    rows = [raw[2].tolist()]
    again = stored(features)
    assert np.array_equal(again.transform(again.read_rows(rows)), x[2:3])


def test_images_are_standardized_by_channel() -> None:
    features, frame = image((4, 5, 3), "auto", ["standardize"])
    x = features.transform(frame)
    assert np.allclose(x.mean((0, 2, 3)), 0, atol=1e-6) and np.allclose(x.std((0, 2, 3)), 1, atol=1e-5)
    assert len(features.steps[0][1]["columns"]["x"]["shift"]) == 3


def test_vectors_stand_beside_numbers() -> None:
    columns = [
        ColumnProfile(name="v", type="tensor", shape=(2,), dtype="float64"),
        ColumnProfile(name="n", type="number"),
        ColumnProfile(name="y", type="integer"),
    ]
    frame = {"v": Column("tensor", np.array([[1.0, 2.0]])), "n": Column("number", np.array([3.0]))}
    features = Features.fit(spec_of(target="y").data, columns, [frame])
    assert features.transform(frame).tolist() == [[1, 2, 3]]
    assert features.transform(features.read_rows([[[1, 2], 3]])).tolist() == [[1, 2, 3]]
