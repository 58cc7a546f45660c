"""What is wrong with a body, in plain English, at JSON paths: pydantic's findings translated at one seam."""

import difflib
import re
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from service.blocks.base import TAG, Block
from service.errors import Problem

MOST = 100
"""Problems in one answer; nobody reads more."""
SHOWN_BYTES = 500
"""Longest JSON of a value that an answer repeats."""

SENTENCES = {
    "missing": "is required",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "finite_number": "must be a finite number",
    "string_pattern_mismatch": "does not have the form {pattern}",
}
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
LENGTHS = {"min_length": "at least {} long", "max_length": "at most {} long"}


def problems_of(
    error: ValidationError, body: object, prefix: str = "", model: type[BaseModel] | None = None
) -> list[Problem]:
    """Return what pydantic found wrong as problems with JSON paths into `body`.

    `prefix` stands before every path. `model`, when given, is what `body` was read as; unknown fields are
    then answered with the known ones.
    """
    return [_problem(line, body, prefix, model) for line in error.errors(include_url=False)[:MOST]]


def join(path: str, step: str | int) -> str:
    """Return `path` one step further: `a.b`, `a[3]`, or `a["no name"]` where the key is no name."""
    if isinstance(step, int):
        return f"{path}[{step}]"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", step):
        return f"{path}[{orjson.dumps(step).decode()}]"
    return f"{path}.{step}" if path else step


def did_you_mean(name: object, allowed: Sequence[str]) -> str:
    """Return `; did you mean "..."?` when one of `allowed` is close to `name`, else nothing."""
    close = difflib.get_close_matches(name, allowed, n=1) if isinstance(name, str) and len(name) < 200 else []
    return f'; did you mean "{close[0]}"?' if close else ""


def shown(value: object) -> object:
    """Return a value as an answer may repeat it: as it is, or cut where its JSON is long."""
    try:
        text = orjson.dumps(value)
    except TypeError:
        return repr(value)[:SHOWN_BYTES]
    return value if len(text) <= SHOWN_BYTES else text[:SHOWN_BYTES].decode(errors="ignore") + " ..."


def _problem(line: Any, body: object, prefix: str, model: type[BaseModel] | None) -> Problem:
    kind, context = line["type"], line.get("ctx", {})
    path, owner = _follow(line["loc"], body, prefix, model)
    got = None if kind == "missing" else shown(line["input"])
    if kind == "unknown_block":
        return _unknown_block(path, line["msg"], line["input"], context["allowed"])
    if kind == "extra_forbidden":
        known = [*owner.model_fields] if owner else []
        return Problem(path, f"is not a field here{did_you_mean(line['loc'][-1], known)}", got, known or None)
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", context["expected"])
        return Problem(path, f"must be {context['expected']}{did_you_mean(line['input'], names)}", got, names)
    bounds = [f"{words} {context[key]}" for key, words in BOUNDS.items() if key in context]
    bounds += [words.format(context[key]) for key, words in LENGTHS.items() if key in context]
    if bounds:
        return Problem(path, f"must be {' and '.join(bounds)}", got, ", ".join(bounds))
    message = SENTENCES[kind].format(**context) if kind in SENTENCES else line["msg"].removeprefix("Value error, ")
    return Problem(path, message, got, context.get("allowed") or context.get("pattern"))


def _unknown_block(path: str, message: str, value: Any, allowed: list[str]) -> Problem:
    """Return the problem of a block that has no type, or one that nobody knows."""
    if isinstance(value, dict):
        path = join(path, "type")
        if "type" not in value:
            return Problem(path, "is required", None, allowed)
        value = value["type"]
    return Problem(path, message + did_you_mean(value, allowed), shown(value), allowed)


def _follow(
    location: tuple[int | str, ...], body: object, path: str, model: type[BaseModel] | None
) -> tuple[str, type[BaseModel] | None]:
    """Return the JSON path of a pydantic location, and the model that the last field belongs to."""
    here, models, owner = body, [model] if model else [], None
    for step in location:
        if isinstance(step, int):
            # A single step may stand without its list; then the JSON has no index.
            if isinstance(here, list):
                path, here = join(path, step), here[step] if step < len(here) else None
        elif step.startswith(TAG):
            models = [_member(m, step.removeprefix(TAG)) for m in models if issubclass(m, Block)]
        else:
            owner = next((m for m in models if step in m.model_fields), models[0] if models else None)
            field = owner.model_fields.get(step) if owner else None
            models = [*_models(field.annotation)] if field else []
            path, here = join(path, step), here.get(step) if isinstance(here, dict) else None
    return path, owner


def _member(family: type[Block], tag: str) -> type[BaseModel]:
    return family.members().get(tag, family)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models inside an annotation: of a list, of an optional, of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models(inner)
