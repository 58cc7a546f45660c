"""Rows to predict, from every form in which people have them."""

import io
import json
import sys
from pathlib import Path

import pytest

from service.client import ClientError, Json
from service.rows import read_rows

MODEL: Json = {
    "spec": {"data": {"target": "price"}},
    "columns": [
        {"name": "rooms", "type": "integer"},
        {"name": "area", "type": "number"},
        {"name": "garden", "type": "boolean"},
        {"name": "town", "type": "category"},
        {"name": "price", "type": "number"},
    ],
}
CSV = "town,rooms,area,garden,price,comment\nBern, 3 ,71.5,true,900,nice\n?,NA,n/a,False,,\n"
ROWS = [
    {"rooms": 3, "area": 71.5, "garden": True, "town": "Bern"},
    {"rooms": None, "area": None, "garden": False, "town": None},
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_becomes_objects_without_the_target(tmp_path: Path, delimiter: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("\ufeff" + CSV.replace(",", delimiter), encoding="utf-8")
    assert read_rows(str(file), MODEL) == ROWS


def test_csv_with_one_column_has_no_delimiter(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("area\n1.5\n2\n")
    assert read_rows(str(file), MODEL) == [{"area": 1.5}, {"area": 2.0}]


def test_several_targets_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("area,rooms,price\n1.5,2,3\n")
    model = MODEL | {"spec": {"data": {"target": ["price", "rooms"]}}}
    assert read_rows(str(file), model) == [{"area": 1.5}]


def test_a_cell_that_does_not_fit_goes_to_the_server_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("rooms,garden\nthree,perhaps\n")
    assert read_rows(str(file), MODEL) == [{"rooms": "three", "garden": "perhaps"}]


@pytest.mark.parametrize("value", [ROWS, {"rows": ROWS}], ids=["list", "request"])
def test_json_files(tmp_path: Path, value: object) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(value))
    assert read_rows(str(file), MODEL) == ROWS


def test_one_object_a_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.ndjson"
    file.write_text("\n".join(map(json.dumps, ROWS)) + "\n")
    assert read_rows(str(file), MODEL) == ROWS


@pytest.mark.parametrize(
    ("typed", "rows"),
    [
        ("[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ("[1, 2]", [[1, 2]]),
        ('{"area": 2}', [{"area": 2}]),
        ("[]", []),
    ],
)
def test_json_typed_in_place(typed: str, rows: list[object]) -> None:
    assert read_rows(typed, MODEL) == rows


@pytest.mark.parametrize("text", [CSV, json.dumps(ROWS)], ids=["csv", "json"])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert read_rows("-", MODEL) == ROWS


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"cannot read missing\.json: No such file"):
        read_rows("missing.json", MODEL)
    with pytest.raises(ClientError, match="ROWS is not JSON"):
        read_rows("[1, 2", MODEL)
    for name, content, message in [
        ("bad.json", b"{", r"bad\.json is not JSON"),
        ("bad.ndjson", b"[1]\nx\n", r"bad\.ndjson line 2 is not JSON"),
        ("scalar.json", b"3", "rows are a list of objects or arrays, not 3"),
        ("image.csv", b"\xff\xfe\x00", "is not a text file"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ClientError, match=message):
            read_rows(str(tmp_path / name), MODEL)
