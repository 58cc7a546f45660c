"""Steps fitted to a data set that comes in frames: what they learn of it is what they learn of it at once."""

from typing import Any

import numpy as np
import pytest

from service.blocks import quantiles
from service.blocks.quantiles import quantiles_of
from service.data.frame import Column, Frame, take
from service.errors import InvalidInput
from tests.service.blocks.test_preprocessing import facts_of, step

RANDOM = np.random.default_rng(1)
ROWS = 101
GAPS = np.where(RANDOM.random(ROWS) < 0.2, np.nan, RANDOM.integers(0, 7, ROWS).astype(np.float64))
WORDS = np.array([None if i % 7 == 0 else "abcab"[i % 5] for i in range(ROWS)], object)
WHOLE: Frame = {
    "a": Column("number", RANDOM.normal(3, 2, ROWS)),
    "b": Column("number", RANDOM.normal(-1e3, 5, ROWS)),
    "gaps": Column("number", GAPS),
    "words": Column("category", WORDS),
    "image": Column("tensor", RANDOM.integers(0, 255, (ROWS, 3, 4, 5)).astype(np.uint8)),
}
NUMBERS = ["a", "b", "gaps", "image"]
STEPS: list[tuple[str, list[str], dict[str, Any]]] = [
    *((name, NUMBERS, {}) for name in ("standardize", "channel_mean", "min_max", "zero_center", "robust")),
    ("robust", NUMBERS, {"quantiles": [0.0, 0.9]}),
    *(("impute", ["a", "gaps"], {"strategy": how}) for how in ("mean", "median")),
    ("impute", ["gaps", "words"], {"strategy": "most_frequent"}),
    ("pca_whitening", ["a", "b"], {}),
    ("pca_whitening", ["image"], {"zca": True}),
    ("tokenize", ["words"], {"level": "character"}),
]


def parts(frame: Frame, rows: int) -> list[Frame]:
    return [take(frame, np.arange(start, min(start + rows, ROWS))) for start in range(0, ROWS, rows)]


@pytest.mark.parametrize(("type", "names", "fields"), STEPS, ids=str)
@pytest.mark.parametrize("rows", [1, 13])
def test_in_frames_a_step_learns_what_it_learns_at_once(
    type: str, names: list[str], fields: dict[str, Any], rows: int
) -> None:
    frame = {name: WHOLE[name] for name in names}
    made, facts = step(type, **fields), facts_of(frame)
    assert not made.check(facts)
    whole = made.apply(frame, made.fit([frame], facts))
    found = made.apply(frame, made.fit(parts(frame, rows), facts))
    assert list(found) == list(whole)
    for name, column in whole.items():
        if column.kind == "category":
            assert found[name].values.tolist() == column.values.tolist()
        else:
            np.testing.assert_allclose(found[name].values, column.values, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("counters", [1 << 6, 1 << 11, 1 << 23])
def test_quantiles_that_are_counted_are_those_of_values_in_order(
    counters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.concatenate([RANDOM.normal(0, 1e-3, 40), RANDOM.normal(0, 1e9, 40), [0.0, -0.0, 0.0, -1.5, np.nan]])
    frame: Frame = {"x": Column("number", values), "image": WHOLE["image"]}
    levels = [0.0, 0.1, 0.25, 0.5, 1 / 3, 0.99, 1.0]
    ordered = quantiles_of([frame], list(frame), levels)
    known = values[~np.isnan(values)]
    np.testing.assert_allclose(ordered["x"][0], np.quantile(known, levels), rtol=1e-12, atol=1e-12)
    by_channel = np.moveaxis(frame["image"].values, 1, 0).reshape(3, -1)
    np.testing.assert_allclose(ordered["image"], np.quantile(by_channel, levels, axis=1).T, rtol=1e-12)
    monkeypatch.setattr(quantiles, "HELD", 0)
    monkeypatch.setattr(quantiles, "COUNTERS", counters)
    counted = quantiles_of([{"x": Column("number", part)} for part in np.array_split(values, 2)], ["x"], levels)
    assert counted["x"].tolist() == ordered["x"].tolist()
    assert quantiles_of([frame], ["image"], levels)["image"].tolist() == ordered["image"].tolist()


@pytest.mark.parametrize("type", ["standardize", "robust", "zero_center"])
def test_without_rows_nothing_is_learned(type: str) -> None:
    with pytest.raises(InvalidInput, match="no values"):
        step(type).fit([], facts_of({"a": WHOLE["a"]}))
