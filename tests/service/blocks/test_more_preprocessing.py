"""Centring, robust scaling, squashing, whitening and codes, against NumPy and scikit-learn."""

import hashlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn.decomposition import PCA
from sklearn.preprocessing import OrdinalEncoder, RobustScaler

from service.data.frame import Column, Fact, Frame, take
from service.errors import InvalidInput, InvalidRows
from tests.service.blocks.test_preprocessing import fitted, number, step, words

RANDOM = np.random.default_rng(0)
IMAGES = Column("tensor", RANDOM.integers(0, 255, (20, 3, 4, 5)).astype(np.uint8))
NUMBERS = RANDOM.normal(size=(30, 3)) * [1, 10, 0.1] + [0, 5, -3]


def table(values: NDArray[Any] = NUMBERS) -> Frame:
    return {f"n{i}": number(*column) for i, column in enumerate(values.T)}


def values(frame: Frame) -> NDArray[Any]:
    return np.stack([column.values for column in frame.values()], axis=1)


def test_zero_center_takes_the_mean_of_every_place_away() -> None:
    frame, _ = fitted(step("zero_center"), {"x": IMAGES})
    expected = IMAGES.values - IMAGES.values.mean(0)
    np.testing.assert_allclose(frame["x"].values, expected, atol=1e-4)
    frame, _ = fitted(step("zero_center"), table())
    np.testing.assert_allclose(values(frame), NUMBERS - NUMBERS.mean(0))


def test_channel_mean_takes_one_mean_a_channel_away() -> None:
    frame, _ = fitted(step("channel_mean"), {"x": IMAGES})
    expected = IMAGES.values - IMAGES.values.mean((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(frame["x"].values, expected, atol=1e-4)


@pytest.mark.parametrize("divide", [False, True])
def test_image_mean_is_each_rows_own(divide: bool) -> None:
    flat = np.full((1, 3, 4, 5), 7, np.uint8)
    images = Column("tensor", np.concatenate([IMAGES.values, flat]))
    frame, _ = fitted(step("image_mean", divide=divide), {"x": images})
    found = frame["x"].values
    np.testing.assert_allclose(found.mean((1, 2, 3)), 0, atol=1e-5)
    if divide:
        np.testing.assert_allclose(found[:-1].std((1, 2, 3)), 1, rtol=1e-5)
    assert (found[-1] == 0).all()


def test_robust_is_scikit_learns() -> None:
    frame, _ = fitted(step("robust"), table())
    np.testing.assert_allclose(values(frame), RobustScaler().fit_transform(NUMBERS))
    frame, _ = fitted(step("robust", quantiles=[0.1, 0.9]), table())
    np.testing.assert_allclose(values(frame), RobustScaler(quantile_range=(10, 90)).fit_transform(NUMBERS))
    frame, state = fitted(step("robust"), {"c": number(3, 3, 3, 9), "m": number(1, np.nan, 2, 3)})
    assert state["columns"]["c"] == {"shift": [3.0], "scale": [1.5]}
    assert np.isnan(frame["m"].values[1]) and state["columns"]["m"]["shift"] == [2.0]
    channels, _ = fitted(step("robust"), {"x": IMAGES})
    median = np.median(IMAGES.values.transpose(1, 0, 2, 3).reshape(3, -1), axis=1)
    assert np.abs(np.median(channels["x"].values.transpose(1, 0, 2, 3).reshape(3, -1), axis=1)).max() < 1e-6, median


def test_logarithms() -> None:
    frame, _ = fitted(step("log"), {"x": number(0, 1, 9, np.nan)})
    np.testing.assert_allclose(frame["x"].values, np.log([1, 2, 10, np.nan]))
    frame, _ = fitted(step("log", signed=True, offset=2.0), {"x": number(-3, 0, 5)})
    np.testing.assert_allclose(frame["x"].values, [-np.log(2.5), 0, np.log(3.5)])


def test_a_number_without_a_logarithm_is_refused_by_name() -> None:
    made = step("log")
    with pytest.raises(InvalidInput, match="column 'x' holds -2, of which log has no value"):
        made.fit([{"x": number(1, -2)}], {"x": Fact("number")})
    state = made.fit([{"x": number(1, 2)}], {"x": Fact("number")})
    with pytest.raises(InvalidRows) as caught:
        made.apply({"x": number(1, -1, 3)}, state)
    assert [problem.path for problem in caught.value.problems] == ["rows[1].x"]


def test_arctan() -> None:
    frame, _ = fitted(step("arctan", scale=2.0), {"x": number(-2, 0, 1e9)})
    np.testing.assert_allclose(frame["x"].values, [-np.pi / 4, 0, np.pi / 2], atol=1e-8)


def test_whitening_is_scikit_learns_and_leaves_no_covariance() -> None:
    mixed = NUMBERS @ RANDOM.normal(size=(3, 3))
    frame, _ = fitted(step("pca_whitening", epsilon=0.0), table(mixed))
    white = frame["pca"].values
    np.testing.assert_allclose(np.cov(white, rowvar=False, bias=True), np.eye(3), atol=1e-4)
    peer = PCA(whiten=True).fit(mixed).transform(mixed) * np.sqrt(30 / 29)
    np.testing.assert_allclose(np.abs(white), np.abs(peer), rtol=1e-3, atol=1e-4)
    kept, _ = fitted(step("pca_whitening", components=2, epsilon=0.0), table(mixed))
    np.testing.assert_allclose(kept["pca"].values, white[:, :2], atol=1e-6)


def test_zca_stays_near_what_it_whitens() -> None:
    mixed = NUMBERS @ RANDOM.normal(size=(3, 3))
    vector = {"v": Column("tensor", mixed)}
    frame, _ = fitted(step("pca_whitening", zca=True, epsilon=0.0), vector)
    covariance = np.cov(mixed, rowvar=False, bias=True)
    variances, axes = np.linalg.eigh(covariance)
    root = axes @ np.diag(variances**-0.5) @ axes.T
    np.testing.assert_allclose(frame["v"].values, (mixed - mixed.mean(0)) @ root, atol=1e-4)


def test_whitening_refuses_what_it_cannot_hold() -> None:
    made = step("pca_whitening")
    wide = {"x": Fact("tensor", (64, 100))}
    assert "matrix is too large" in made.check(wide)[0].message
    assert "missing values" in made.check({"x": Fact("number", missing=2)})[0].message
    both = {"x": Fact("tensor", (3, 4)), "n": Fact("number")}
    assert "beside tensors" in made.check(both)[0].message
    few = step("pca_whitening", components=5)
    assert "fewer of them" in few.check({"n": Fact("number")})[0].message
    step("pca_whitening", components=100).check({"x": Fact("tensor", (64, 64))})


def test_ordinal_is_scikit_learns() -> None:
    frame, _ = fitted(step("ordinal"), {"c": words("b", "a", "c", "b")})
    peer = OrdinalEncoder().fit_transform(np.array([["b"], ["a"], ["c"], ["b"]]))
    assert frame["c"].values.tolist() == peer[:, 0].tolist()
    facts = {"c": Fact("category", counts=(("a", 1), ("b", 2)))}
    strict, lenient = step("ordinal"), step("ordinal", unknown="ignore")
    assert (strict.plan(facts)["c"].vocabulary, lenient.plan(facts)["c"].vocabulary) == (2, 3)
    state = strict.fit([{}], facts)
    assert lenient.apply({"c": words("z", "a")}, state)["c"].values.tolist() == [2, 0]
    with pytest.raises(InvalidRows) as caught:
        strict.apply({"c": words("a", "z")}, state)
    assert (caught.value.problems[0].path, caught.value.problems[0].got) == ("rows[1].c", "z")


@pytest.mark.parametrize("signed", [False, True])
def test_hashes_are_the_same_everywhere(signed: bool) -> None:
    frame, _ = fitted(step("hash", buckets=7, signed=signed), {"c": words("b", "a", None, "b")})
    found = frame["c"].values
    digest = hashlib.blake2b(b"b", digest_size=9).digest()
    place = int.from_bytes(digest[:8], "little") % 7
    assert found[0, place] == (-1 if signed and digest[8] & 1 else 1)
    assert (np.abs(found).sum(1) == 1).all() and (found[0] == found[3]).all()


def test_hashes_spread_and_cancel_out() -> None:
    frame, _ = fitted(step("hash", buckets=16, signed=True), {"c": words(*(f"value {i}" for i in range(3200)))})
    found = frame["c"].values
    assert np.abs(np.abs(found).sum(0) - 200).max() < 60
    assert np.abs(found.sum(0)).max() < 60


TEXTS = words("The cat sat. The CAT!", "a dog", None, "", "cat dog")


def test_texts_become_ids_of_the_most_frequent_words() -> None:
    frame, state = fitted(step("tokenize", length=6, max_tokens=4), {"t": TEXTS})
    assert state["columns"]["t"] == ["cat", "dog", "the", "!"]
    assert frame["t"].values.tolist() == [
        [4, 2, 1, 1, 4, 2],
        [1, 3, 0, 0, 0, 0],
        [0] * 6,
        [0] * 6,
        [2, 3, 0, 0, 0, 0],
    ]
    before, _ = fitted(step("tokenize", length=3, max_tokens=4, pad="before"), {"t": TEXTS})
    assert before["t"].values.tolist()[1] == [0, 1, 3]
    facts = step("tokenize", max_tokens=4).plan({"t": Fact("category")})
    assert (facts["t"].vocabulary, facts["t"].shape) == (6, (64,))


def test_tokens_may_be_rare_or_single_characters() -> None:
    _, state = fitted(step("tokenize", min_frequency=2), {"t": TEXTS})
    assert state["columns"]["t"] == ["cat", "dog", "the"]
    frame, state = fitted(step("tokenize", level="character", length=3, lowercase=False), {"t": words("aB", "a")})
    assert state["columns"]["t"] == ["a", "B"] and frame["t"].values.tolist() == [[2, 3, 0], [2, 0, 0]]
    with pytest.raises(InvalidInput, match="has no words in the training rows"):
        step("tokenize").fit([{"t": words("", None)}], {"t": Fact("category")})


CASES: list[tuple[str, dict[str, Any], Frame]] = [
    ("zero_center", {}, {"x": IMAGES}),
    ("channel_mean", {}, {"x": IMAGES}),
    ("image_mean", {"divide": True}, {"x": IMAGES}),
    ("robust", {}, table()),
    ("log", {"signed": True}, table()),
    ("arctan", {}, {"x": IMAGES}),
    ("pca_whitening", {}, table()),
    ("pca_whitening", {"zca": True}, {"x": IMAGES}),
    ("ordinal", {}, {"c": words("b", "a", "c", "b")}),
    ("hash", {}, {"c": words("b", "a", None, "b")}),
    ("tokenize", {}, {"t": TEXTS}),
]


@pytest.mark.parametrize(("kind", "fields", "frame"), CASES, ids=[kind for kind, *_ in CASES])
def test_a_row_alone_is_what_it_is_among_others(kind: str, fields: dict[str, Any], frame: Frame) -> None:
    made = step(kind, **fields)
    whole, state = fitted(made, frame)
    for row in (0, 2):
        alone = made.apply(take(frame, np.array([row])), state)
        for name, column in alone.items():
            assert np.array_equal(column.values[0], whole[name].values[row])


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("robust", {"quantiles": [0.7, 0.3]}),
        ("log", {"offset": -1.0}),
        ("arctan", {"scale": 0.0}),
        ("pca_whitening", {"components": 0}),
        ("hash", {"buckets": 1}),
        ("tokenize", {"length": 0}),
    ],
)
def test_fields_have_bounds(kind: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        step(kind, **fields)


@pytest.mark.parametrize("kind", ["zero_center", "channel_mean", "robust", "log", "arctan", "pca_whitening"])
def test_categories_are_not_numbers(kind: str) -> None:
    (problem,) = step(kind, columns=["c"]).check({"c": Fact("category")})
    assert problem.path == "columns[0]" and "'c' holds categories" in problem.message


@pytest.mark.parametrize("kind", ["hash", "tokenize", "image_mean"])
def test_numbers_are_no_text_and_no_image(kind: str) -> None:
    (problem,) = step(kind, columns=["n"]).check({"n": Fact("number")})
    assert problem.path == "columns[0]" and "'n' holds" in problem.message
