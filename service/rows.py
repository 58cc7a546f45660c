"""Rows to predict, as people have them: a JSON or CSV file, standard input, or JSON typed in place."""

import csv
import io
import json
import sys
from pathlib import Path

from service.client import ClientError, Json

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""What stands for a missing value in a CSV file, in lower case; the same as in an uploaded one."""
DELIMITERS = ",;\t|"


def read_rows(source: str, model: Json) -> list[object]:
    """Return the rows that `source` names: a file, `-` for standard input, or JSON itself.

    A CSV file may hold the target and other columns that the model does not use; they are left out.

    Raises:
        ClientError: The source cannot be read.
    """
    text, name = _text_of(source)
    if name.endswith((".csv", ".tsv")) or (name == "-" and text.lstrip()[:1] not in ("[", "{")):
        return _rows_of_csv(text, model)
    if name.endswith((".ndjson", ".jsonl")):
        return [_parse(line, f"{name} line {number}") for number, line in enumerate(text.splitlines(), 1) if line]
    return _as_rows(_parse(text, name))


def _text_of(source: str) -> tuple[str, str]:
    """Return the text and what to call it: the file's name, `-`, or nothing for JSON typed in place."""
    if source == "-":
        return sys.stdin.read(), "-"
    if source.lstrip()[:1] in ("[", "{"):
        return source, ""
    try:
        return Path(source).read_text("utf-8-sig"), source
    except UnicodeDecodeError as error:
        raise ClientError(f"{source} is not a text file: give the rows as JSON or CSV") from error
    except OSError as error:
        raise ClientError(
            f"cannot read {source}: {error.strerror}. ROWS is a file, `-`, or JSON like [[1, 2]]"
        ) from error


def _parse(text: str, name: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ClientError(f"{name or 'ROWS'} is not JSON: {error}") from error


def _as_rows(value: object) -> list[object]:
    """Return a list of rows from a list of them, a single one, or a whole request."""
    if isinstance(value, dict):
        rows = value.get("rows", [value])
        return rows if isinstance(rows, list) else [value]
    if isinstance(value, list):
        return value if not value or any(isinstance(row, list | dict) for row in value) else [value]
    raise ClientError(f"rows are a list of objects or arrays, not {value!r}")


def _rows_of_csv(text: str, model: Json) -> list[object]:
    try:
        dialect: type[csv.Dialect] | str = csv.Sniffer().sniff(text.partition("\n")[0], DELIMITERS)
    except csv.Error:
        dialect = "excel"  # a single column has no delimiter to find
    targets = model["spec"]["data"]["target"]
    types = {
        c["name"]: c["type"]
        for c in model["columns"]
        if c["name"] not in ([targets] if isinstance(targets, str) else targets)
    }
    reader = csv.DictReader(io.StringIO(text, newline=""), dialect=dialect)
    return [{name: _value(row[name], types[name]) for name in types if row.get(name) is not None} for row in reader]


def _value(text: str, kind: str) -> object:
    """Return the JSON value of a cell; what does not fit the column's type is left for the server to name."""
    text = text.strip()
    if text.lower() in MISSING:
        return None
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind not in ("integer", "number"):
        return text
    try:
        return int(text) if kind == "integer" else float(text)
    except ValueError:
        return text
