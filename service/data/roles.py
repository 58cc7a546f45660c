"""Columns that say something of a row's use, checked against their profiles: its part, its group, its weight."""

from service.data.profile import ColumnProfile
from service.errors import Problem
from service.spec import DataSpec, JobSpec
from service.splitting import Split

PARTS = ("train", "validation", "test")
"""What a column that divides the rows may say."""
SHOWN = 20


def check_split(spec: JobSpec, by_name: dict[str, ColumnProfile], rows: int | None) -> list[Problem]:
    """Return why rows cannot be divided as the spec asks; unknown names are another check's."""
    split = spec.data.split
    problems = []
    if split.stratify is True and spec.loss.task != "classification":
        problems.append(Problem("data.split.stratify", "needs classes; this loss is for regression", got=True))
    parts = 1 + (split.validation > 0) + (split.test > 0)
    if rows is not None and rows < parts:
        problems.append(Problem("data.split", f"{rows} rows cannot be divided into {parts} parts", got=rows))
    if split.column in by_name:
        problems += _check_column(split, by_name[split.column])
    if split.group in by_name:
        problems += _check_group(by_name[split.group], parts)
    return problems


def _check_column(split: Split, column: ColumnProfile) -> list[Problem]:
    path = "data.split.column"
    if column.type != "category":
        return [Problem(path, f"column {column.name!r} holds {_plural(column)}, not parts", column.name, list(PARTS))]
    if column.missing:
        return [Problem(path, f"column {column.name!r} lacks a value in {column.missing} rows", got=column.name)]
    if column.values is None:
        return [Problem(path, f"column {column.name!r} has too many values to be parts", column.name, list(PARTS))]
    unknown = [value for value in column.values if value not in PARTS]
    problems = [
        Problem(path, f"column {column.name!r} holds {str(value)[:100]!r}, which is no part", value, list(PARTS))
        for value in unknown[:SHOWN]
    ]
    if not unknown and "train" not in column.values:
        problems.append(Problem(path, f"column {column.name!r} leaves no rows to train on", got=list(column.values)))
    for part, fraction in (("validation", split.validation), ("test", split.test)):
        if fraction > 0 and part in column.values:
            message = f"contradicts column {column.name!r}, which names the {part} rows already; leave one of them out"
            problems.append(Problem(f"data.split.{part}", message, got=fraction))
    return problems


def _check_group(column: ColumnProfile, parts: int) -> list[Problem]:
    path = "data.split.group"
    if column.type == "tensor":
        return [Problem(path, f"column {column.name!r} holds tensors, not groups", got=column.name)]
    if column.missing:
        message = f"column {column.name!r} lacks a value in {column.missing} rows; every row needs a group"
        return [Problem(path, message, got=column.name)]
    if column.distinct is not None and column.distinct < parts:
        message = f"column {column.name!r} has {column.distinct} groups, too few for {parts} parts"
        return [Problem(path, message, got=column.name)]
    return []


def check_weight(data: DataSpec, by_name: dict[str, ColumnProfile]) -> list[Problem]:
    """Return why the column of weights cannot weigh rows; an unknown name is another check's."""
    if data.sample_weight not in by_name:
        return []
    column = by_name[data.sample_weight]
    why = _no_weight(column)
    return [Problem("data.sample_weight", f"column {column.name!r} {why}", column.name, {"ge": 0})] if why else []


def _no_weight(column: ColumnProfile) -> str | None:
    if column.type not in ("integer", "number"):
        return f"holds {_plural(column)}, not numbers"
    if column.missing or column.infinite:
        return f"has {column.missing + column.infinite} missing or infinite values; every row needs a weight"
    if column.min is not None and column.min < 0:
        return f"has negative weights, down to {column.min:g}"
    return "has only zeros; no row would count" if not column.max else None


def _plural(column: ColumnProfile) -> str:
    return {"category": "categories", "boolean": "true and false", "tensor": "tensors"}.get(column.type, "numbers")
