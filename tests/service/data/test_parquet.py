"""Parquet: every type of column, row groups of any size, and files that are broken."""

import datetime
import io
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from service.data import parquet
from service.data.formats import Limits
from service.errors import InvalidDataset, TooLarge
from tests.support.uploaded import Uploader


def written(table: pl.DataFrame, **options: Any) -> bytes:
    file = io.BytesIO()
    table.write_parquet(file, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("cells", "type", "values"),
    [
        (pl.Series([1, None, 3], dtype=pl.Int8), "integer", [1, None, 3]),
        (pl.Series([1, 2, 2**53 + 1], dtype=pl.UInt64), "category", ["1", "2", str(2**53 + 1)]),
        (pl.Series([1.5, float("nan"), None], dtype=pl.Float32), "number", [1.5, None, None]),
        (pl.Series([Decimal("1.5"), Decimal("2.25"), None]), "number", [1.5, 2.25, None]),
        (pl.Series([True, None, False]), "boolean", [1, None, 0]),
        (pl.Series(["1", "?", " b "]), "category", ["1", None, "b"]),
        (pl.Series(["1", "2", "3"]), "category", ["1", "2", "3"]),
        (pl.Series(["a", "b", "a"], dtype=pl.Categorical), "category", ["a", "b", "a"]),
        (pl.Series(["a", "b", "a"], dtype=pl.Enum(["b", "a"])), "category", ["a", "b", "a"]),
        (pl.Series([datetime.date(2020, 1, 2)] * 3), "category", ["2020-01-02"] * 3),
        (pl.Series([datetime.timedelta(seconds=1.5)] * 3), "number", [1.5] * 3),
        (pl.Series([None, None, None]), "category", [None] * 3),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, pl.Series) else "",
)
def test_scalars(upload: Uploader, cells: pl.Series, type: str, values: list[Any]) -> None:
    found = upload(written(pl.DataFrame({"x": cells, "y": [1, 2, 3]})), "parquet")
    assert found["x"].type == type
    assert found["x"].missing == values.count(None)
    read = found.values("x")
    assert [None if value is None or value != value else value for value in read] == values


@pytest.mark.parametrize(
    "cells",
    [
        pl.Series([[[1, 2]], [[3, 4]], [[5, 6]]]),
        pl.Series([[[1, 2]], [[3, 4]], [[5, 6]]], dtype=pl.Array(pl.UInt8, (1, 2))),
        pl.Series([[[1.5, 2]], [[3, 4]], [[5, None]]]),
        pl.Series([[[True, False]], [[True, True]], [[True, False]]]),
    ],
    ids=["lists", "arrays", "missing", "booleans"],
)
def test_tensors(upload: Uploader, cells: pl.Series) -> None:
    found = upload(written(pl.DataFrame({"x": cells})), "parquet")
    assert (found["x"].type, found["x"].shape) == ("tensor", (1, 2))
    expected = np.array(cells.to_list(), np.float64)
    assert found["x"].missing == np.isnan(expected).sum()
    assert np.array_equal(found.read("x")["x"].values, expected, equal_nan=True)
    assert found.read("x", rows=1)["x"].values.shape == (1, 1, 2)


@pytest.mark.parametrize("group", [7, 1000])
@pytest.mark.parametrize("size", [8, 100, 1 << 20])
def test_groups_and_slices_make_no_difference(
    upload: Uploader, monkeypatch: pytest.MonkeyPatch, group: int, size: int
) -> None:
    monkeypatch.setattr(parquet, "SLICE_BYTES", size)
    x = np.random.default_rng(0).normal(size=(50, 3))
    table = pl.DataFrame({"x": x[:, 0], "v": x, "c": ["a", "b"] * 25})
    found = upload(written(table, row_group_size=group), "parquet")
    assert (found["x"].mean, found["x"].std) == pytest.approx((x[:, 0].mean(), x[:, 0].std()), rel=1e-12)
    assert (found["v"].mean, found["v"].std) == pytest.approx((x.mean(), x.std()), rel=1e-12)
    assert found.listed("c") == [("a", 25), ("b", 25)]
    assert found.values("x") == x[:, 0].tolist()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PAR1 and nothing more PAR1",
        written(pl.DataFrame({"x": [1, 2]}))[:-10],
        written(pl.DataFrame({"x": [[1, 2], [3]]})),
        written(pl.DataFrame({"x": [[1, 2], None]})),
        written(pl.DataFrame({"x": [[], []]}, schema={"x": pl.List(pl.Int64)})),
        written(pl.DataFrame({"x": [["a"], ["b"]]})),
        written(pl.DataFrame({"x": [{"a": 1}]})),
        written(pl.DataFrame({"x": [b"a"]})),
        written(pl.DataFrame({"x": []}, schema={"x": pl.Int64})),
        written(pl.DataFrame({"": [1]})),
    ],
    ids=[
        "empty", "marks", "cut", "ragged", "missing-list", "empty-lists", "lists-of-text", "struct", "bytes", "no-rows",
        "no-name",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(upload: Uploader, data: bytes) -> None:
    with pytest.raises(InvalidDataset):
        upload(data, "parquet")


def test_lists_that_change_their_length_later_are_refused(upload: Uploader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "SLICE_ROWS", 1)
    with pytest.raises(InvalidDataset, match="of different lengths: 1 in row 1, 2 before"):
        upload(written(pl.DataFrame({"x": [[1, 2], [3]]})), "parquet")


def test_limits(upload: Uploader) -> None:
    many = written(pl.DataFrame({f"x{i}": [1] for i in range(11)}))
    with pytest.raises(TooLarge, match="11 columns"):
        upload(many, "parquet", Limits(10, 10**9, 10**9))
    bomb = written(pl.DataFrame({"x": pl.repeat(0, 100_000, eager=True)}))
    assert len(bomb) < 10_000
    with pytest.raises(TooLarge, match="unpacks"):
        upload(bomb, "parquet", Limits(10, 10_000, 10**9))
    tensors = written(pl.DataFrame({"x": pl.Series(np.zeros((100, 50)))}))
    with pytest.raises(TooLarge, match="column 'x'"):
        upload(tensors, "parquet", Limits(10, 10_000, 10**9))
