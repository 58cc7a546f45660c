"""JSON rows: an array or one object a line, and what is wrong with others."""

import json
from typing import Any

import numpy as np
import pytest

from service.data import json_rows
from service.data.formats import Limits
from service.errors import InvalidDataset, TooLarge
from tests.support.uploaded import Uploaded, Uploader


def lines(rows: list[Any]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


ROWS = [
    {"i": 1, "f": 1, "b": True, "c": "x", "t": [[1, 2], [3, 4]], "m": 1},
    {"i": None, "f": 2.5, "b": None, "c": "5", "t": [[1, 2], [3, 4.5]], "m": "a"},
    {"i": 3, "f": None, "b": False, "c": " ? ", "t": [[0, 0], [0, 0]], "m": True, "late": 7},
]


@pytest.mark.parametrize(
    "write", [json.dumps, lambda rows: json.dumps(rows, indent=2), lines, lambda r: "\n\n" + lines(r)]
)
@pytest.mark.parametrize("batch", [1, 2, 100])
def test_types(upload: Uploader, monkeypatch: pytest.MonkeyPatch, write: Any, batch: int) -> None:
    monkeypatch.setattr(json_rows, "BATCH", batch)
    found = upload(write(ROWS), "json")
    assert [(c.name, c.type, c.missing) for c in found.profile.columns] == [
        ("i", "integer", 1),
        ("f", "number", 1),
        ("b", "boolean", 1),
        ("c", "category", 1),
        ("t", "tensor", 0),
        ("m", "category", 0),
        ("late", "integer", 2),
    ]
    assert found["t"].shape == (2, 2)
    assert found.values("m") == ["1", "a", "true"]
    assert found.values("c") == ["x", "5", None]
    assert np.array_equal(found.read("t")["t"].values, [row["t"] for row in ROWS])
    assert np.array_equal(found.values("f"), [1, 2.5, np.nan], equal_nan=True)
    assert [len(column.values) for column in found.read(rows=2).values()] == [2] * 7


def test_integers_beyond_64_bits_stay_exact(upload: Uploader) -> None:
    assert upload(json.dumps([{"x": 2**70}, {"x": 1}]), "json").values("x") == [str(2**70), "1"]


def test_a_byte_order_mark_is_no_row(upload: Uploader) -> None:
    assert upload(b"\xef\xbb\xbf" + lines([{"x": 1}]).encode(), "json").profile.rows == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "no rows"),
        ("[]", "no rows"),
        ("[{}]", "no columns"),
        ("5", "object"),
        ("[1]", "object"),
        ("[[1, 2]]", "object"),
        ('{"x": 1}\n[1]', "object"),
        ('[{"x": 1}', "not JSON"),
        ('[{"x": 1},]', "not JSON"),
        ('[{"x": 1} {"x": 2}]', "expected ','"),
        ('[{"x": 1}] 5', "more text"),
        ('[{"x": NaN}]', "NaN is not JSON"),
        ('{"x": -Infinity}', "line 1 .* -Infinity is not JSON"),
        ('{"x": 1}\n{"x": }', "line 2 is not JSON"),
        ('{\n"x": 1\n}', "line 1 is not JSON"),
        (b'[{"x": "\xff"}]', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('[{"x": ' + "1" * 5000 + "}]", "not JSON"),
        ('[{"x": "\\ud800"}]', "column 'x'"),
        ('[{"": 1}]', "no name"),
        ('[{"x": [1]}, {"x": 2}]', "mixes"),
        ('[{"x": {"y": 2}}]', "mixes"),
        ('[{"x": [1, 2]}, {"x": [1]}]', "different lengths"),
        ('[{"x": [1, 2]}, {}]', "missing"),
        ('[{"x": [1, [2]]}]', "column 'x'"),
        ('[{"x": ["a"]}]', "not numbers"),
        ('[{"x": []}]', "empty"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_read_is_refused(upload: Uploader, data: str, message: str) -> None:
    with pytest.raises(InvalidDataset, match=message):
        upload(data, "json")


@pytest.mark.parametrize("batch", [1, 2, 100])
@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([[[1, 2], [3, 4]], [[1, 2]], [[1, 2], [3, 4]]], "different lengths: 1 in row 1, 2 before"),
        ([[[1, 2], [3, 4]], [[1, 2], [3, 4]], [[1, 2], [3, 4, 5]]], "different lengths: 3 in row 2, 2 before"),
        ([[[1, 2], [3, 4]], [[1, 2], []], [[1, 2], [3, 4]]], "an empty list in row 1"),
        ([[[1, 2], [3, 4]], [[1, 2], [3, 4]], None], "missing in row 2"),
        ([[[1, 2], [3, 4]], [[1, 2], [3, 4]], [[1, 2], None]], "missing in row 2"),
    ],
)
def test_sequences_of_different_lengths_are_refused_with_row_and_lengths(
    upload: Uploader, monkeypatch: pytest.MonkeyPatch, cells: list[Any], words: str, batch: int
) -> None:
    monkeypatch.setattr(json_rows, "BATCH", batch)
    with pytest.raises(InvalidDataset, match=words):
        upload(lines([{"x": cell, "y": 1} for cell in cells]), "json")


def test_lists_of_another_depth_are_refused(upload: Uploader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "BATCH", 1)
    with pytest.raises(InvalidDataset, match="2 levels, but of 1 from row 1 on"):
        upload(lines([{"x": [[1], [2]]}, {"x": [1, 2]}]), "json")


def test_tensors_that_change_their_shape_later_are_refused(upload: Uploader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "BATCH", 1)
    with pytest.raises(InvalidDataset, match="of different lengths: 1 in row 1, 2 before"):
        upload(lines([{"x": [1, 2]}, {"x": [3]}]), "json")


def test_limits(upload: Uploader) -> None:
    limits = Limits(2, 10**9, 100)

    def tried(data: str) -> Uploaded:
        return upload(data, "json", limits)

    assert tried(lines([{"x": 1}] * 50)).profile.rows == 50, "lines are not held together"
    with pytest.raises(TooLarge, match="100 bytes"):
        tried(json.dumps([{"x": 1}] * 50))
    with pytest.raises(TooLarge, match="line 2"):
        tried('{"x": 1}\n' + json.dumps({"x": "a" * 100}))
    with pytest.raises(TooLarge, match="3 columns"):
        tried(lines([{"x": 1}, {"y": 1}, {"z": 1}]))
