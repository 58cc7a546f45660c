"""The card of a model as Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

Json = dict[str, Any]
SHOWN_VALUES = 12


def markdown(card: Json) -> str:
    """Return a card, as its JSON is answered, as a page of Markdown."""
    parts = [
        f"# {_plain(card['name'] or card['model'])}",
        _about(card),
        "## What it must not be used for",
        "\n".join(f"- {_plain(limit['message'])}" for limit in card["limits"]) or "Nothing that follows from facts.",
        "## Network",
        _table(
            ("layer", "block", "shape"),
            ((a["name"], a["type"], _text(a["output_shape"])) for a in card["network"]["layers"]),
        ),
        _network(card["network"]),
        "## Data",
        _data(card["data"]),
        _table(("column", "type", "role", "missing", "seen"), (_column(column) for column in card["data"]["columns"])),
        "## Metrics",
        _metrics(card["metrics"]),
        "## Calibration",
        _calibration(card["calibration"]),
        "## Receipt",
        _table(("what", "value"), sorted((name, _text(value)) for name, value in card["receipt"].items())),
    ]
    return "\n\n".join(parts) + "\n"


def _about(card: Json) -> str:
    what = {"classification": "a class", "multi_label": "labels that may hold together", "regression": "numbers"}
    targets = ", ".join(column["name"] for column in card["data"]["columns"] if column["role"] == "target")
    lines = [
        ("model", card["model"]),
        ("predicts", f"{what[card['task']]}: {targets}"),
        ("classes", _short(card["classes"]) if card["classes"] else "-"),
        ("trained by", card["job"] or "another installation; it was imported"),
        ("since", card["created_at"]),
        ("weights", card["weights_sha256"]),
    ]
    return _table(("what", "value"), lines)


def _network(network: Json) -> str:
    random = ", ".join(network["stochastic_layers"]) or "none"
    steps = ", ".join(network["preprocessing"]) or "none"
    members = f"{network['members']} networks that answer together, each with " if network["members"] > 1 else ""
    return (
        f"{members}{network['parameters']:,} parameters. Loss {network['loss']}, optimizer {network['optimizer']}. "
        f"Preprocessing: {steps}. Layers that Monte-Carlo predictions draw: {_plain(random)}. "
        f"Specification: {network['spec_sha256']}."
    )


def _data(data: Json) -> str:
    rows = ", ".join(f"{count:,} {part}" for part, count in data["rows"].items()) or "not known"
    return f"Rows: {rows}. Data set {data['dataset']}, contents {data['sha256']}."


def _column(column: Json) -> Sequence[str]:
    if column["values"] is not None:
        seen = _short(column["values"])
    else:
        seen = "-" if column["min"] is None else f"{column['min']:g} to {column['max']:g}"
    return column["name"], column["type"], column["role"], f"{column['missing']:,}", seen


def _metrics(metrics: Json) -> str:
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    rows = [(name, *(_text(values.get(name)) for values in metrics.values())) for name in names]
    return _table(("metric", *metrics), rows) if rows else "Nothing was measured."


def _calibration(calibration: Json | None) -> str:
    if calibration is None:
        return "None: there were no validation rows."
    before, after = calibration["before"], calibration["after"]
    rows = [(name, _text(before.get(name)), _text(value)) for name, value in after.items()]
    fitted = {name: calibration.get(name) for name in ("temperature", "noise_precision", "noise_factor")}
    said = ", ".join(f"{name} {_text(value)}" for name, value in fitted.items() if value is not None)
    table = _table(("figure", "before", "after"), rows)
    return f"On {calibration['rows']:,} validation rows: {said}.\n\n{table}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _short(values: Sequence[str]) -> str:
    rest = f" and {len(values) - SHOWN_VALUES:,} more" if len(values) > SHOWN_VALUES else ""
    return ", ".join(values[:SHOWN_VALUES]) + rest


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return "-" if value is None else str(value)


def _plain(text: object) -> str:
    """Return text in which no name can be markup: names come from whoever uploaded the data."""
    flat = " ".join(str(text).split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in flat)
