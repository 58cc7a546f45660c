"""Predictions written down and read again."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from service.predict.bulk import writers
from service.predict.bulk.bulk import Bulk
from service.predict.bulk.results import stored_about, stored_predictions
from service.predict.bulk.schema import schema_of
from service.predict.bulk.writers import WRITERS, CsvWriter, LineWriter, ParquetWriter, written
from service.predict.messages import PredictOptions
from service.settings import Settings
from tests.service.predict.asking import Load

ABOUT = {"mc_samples": 2, "seed": 1, "stochastic_layers": ["d"], "calibrated": False, "note": None}
LABEL = pl.String()
SCHEMA = {
    "label": LABEL, "probabilities": pl.Struct({"a,b": pl.Float64(), "é": pl.Float64()}), "quantiles": pl.Struct({}),
    "set": pl.List(LABEL), "aleatoric_std": pl.Float64(), "abstained": pl.Boolean(),
}  # fmt: skip


def prediction(i: int) -> dict[str, Any]:
    return {
        "label": '{"type":"x"}' if i % 2 else "a\nb", "probabilities": {"a,b": i / 3, "é": 1e-300}, "quantiles": {},
        "set": ["é"] * (i % 3), "aleatoric_std": None, "abstained": i % 2 == 0,
    }  # fmt: skip


ROWS = [prediction(i) for i in range(50)]


def body(kind: str, schema: Any = SCHEMA, rows: Any = ROWS) -> bytes:
    return b"".join(written(iter([rows[:7], rows[7:9], rows[9:]]), WRITERS[kind](schema, ABOUT)))


def test_lines_are_entries_of_an_answer() -> None:
    assert [json.loads(line) for line in body("ndjson").splitlines()] == ROWS


def test_a_cell_of_csv_is_never_taken_for_a_problem() -> None:
    text = body("csv").decode()
    header, *cells = csv.reader(io.StringIO(text, newline=""))
    assert header == ["label", "probabilities.a,b", "probabilities.é", "set", "aleatoric_std", "abstained"]
    assert [float(row[1]) for row in cells] == [one["probabilities"]["a,b"] for one in ROWS]
    assert [json.loads(row[3]) for row in cells] == [one["set"] for one in ROWS]
    assert {(row[4], row[5]) for row in cells} == {("", "true"), ("", "false")}
    assert not any(line.startswith("{") for line in text.splitlines())


def test_parquet_gives_back_what_it_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(writers, "GROUP_ROWS", 8)
    path = tmp_path / "result.parquet"
    path.write_bytes(body("parquet"))
    schema, about = stored_about(path)
    assert (list(schema.items()), about) == (list(SCHEMA.items()), ABOUT)
    found = [one for some in stored_predictions(path) for one in some]
    assert found == ROWS and list(found[0]) == list(ROWS[0])


def test_a_row_group_waits_until_it_is_worth_it() -> None:
    writer = ParquetWriter(SCHEMA, ABOUT)
    assert writer.rows(ROWS) == b""
    assert writer.rows(ROWS * 1_400).startswith(b"PAR1")
    assert writer.rows(ROWS) == b""
    assert writer.end().endswith(b"PAR1")


CLASS_OPTIONS = {"coverage": 0.8, "return_samples": True, "mc_samples": 3, "abstain": {"coverage": 0.9}}
VALUE_OPTIONS = CLASS_OPTIONS | {"intervals": [0.5], "quantiles": [0, 0.5, 1]}
ADAPTIVE = {"adaptive": {"tolerance": 0.5}, "mc_samples": 30}


@pytest.mark.parametrize("asked", [{}, {"mc_samples": 0}, ADAPTIVE, CLASS_OPTIONS])
@pytest.mark.parametrize("name", ["wine", "plain", "digits", "sure_wine", "labelled", "diabetes", "sure_diabetes"])
def test_the_schema_is_that_of_the_answers(
    request: pytest.FixtureRequest, loaded: Load, name: str, asked: dict[str, Any], tmp_path: Path
) -> None:
    """Every kind of model, every field: what is stored is what would be answered, field by field."""
    model = loaded(request.getfixturevalue(name))
    calibrated = model.calibration is not None
    if not calibrated:
        asked = {key: value for key, value in asked.items() if key not in ("coverage", "abstain")}
    elif asked is CLASS_OPTIONS and model.target.task == "regression":
        asked = VALUE_OPTIONS
    bulk = Bulk.of(model, PredictOptions.model_validate(asked), Settings())
    rows = [[1.0] * len(model.features.columns)] * 5 if name != "digits" else [[[[1.0] * 8] * 8]] * 5
    frames = iter([model.features.read_rows(rows)])
    found = [one for some in bulk.answers(bulk.encoded(frames)) for one in some]
    schema = schema_of(bulk)
    assert list(found[0]) == list(schema)
    path = tmp_path / "result.parquet"
    path.write_bytes(b"".join(written(iter([found]), ParquetWriter(schema, bulk.about))))
    assert [one for some in stored_predictions(path) for one in some] == found
    stored, _ = stored_about(path)
    both = [b"".join(written(iter([found]), CsvWriter(kind, ABOUT))) for kind in (schema, stored)]
    assert both[0] == both[1]
    assert len(b"".join(written(iter([found]), LineWriter(schema, ABOUT))).splitlines()) == 5
