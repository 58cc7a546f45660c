"""Predictions out of the Parquet file that holds them, as entries of an answer again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from service.predict.bulk.schema import Schema
from service.predict.bulk.writers import METADATA

SLICE_ROWS, ROWS = 65_536, 2_048


def stored_about(path: Path) -> tuple[Schema, dict[str, Any]]:
    """Return the types of the fields that predictions of a file have, and what all of them rest on."""
    about = json.loads(pl.read_parquet_metadata(path)[METADATA])
    known = pl.read_parquet_schema(path)
    return {name: known.get(name, pl.Struct({})) for name in about.pop("fields")}, about


def stored_predictions(path: Path) -> Iterator[list[dict[str, Any]]]:
    """Yield the predictions of a file, some at a time."""
    schema, _ = stored_about(path)
    table = pl.scan_parquet(path, glob=False)
    rows = int(table.select(pl.len()).collect().item())
    for start in range(0, rows, SLICE_ROWS):
        for part in table.slice(start, SLICE_ROWS).collect().iter_slices(ROWS):
            yield [{name: row.get(name, {}) for name in schema} for row in part.to_dicts()]
