"""From a request body to a specification, or to everything that is wrong with it at once."""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from service.checks import contradictions
from service.errors import InvalidSpec, MalformedRequest, Problem
from service.findings import did_you_mean, join, problems_of
from service.spec import JobSpec

__all__ = ["Draft", "did_you_mean", "join", "parse_json", "parse_spec", "problems_of", "read_draft"]

MOST_LEVELS = 64
"""Deepest nesting of a body; the deepest sensible specification needs a quarter of it."""

STAND_INS: dict[str, Any] = {
    "network": {"layers": [{"type": "dense", "units": "auto"}]},
    "loss": "cross_entropy",
    "data": {},
}
STAND_INS_OF_DATA: dict[str, Any] = {"dataset": "ds_" + "0" * 26, "target": "target"}


@dataclass(frozen=True)
class Draft:
    """What could be read of a body.

    `spec` is None when anything is wrong. `readable` is the specification with stand-ins where it is `broken`
    (`network`, `data.split`, ...), so that what is sound can still be checked, in the same answer; None when the
    body is no object.
    """

    spec: JobSpec | None
    problems: tuple[Problem, ...]
    readable: JobSpec | None
    broken: frozenset[str]

    def sound(self, *places: str) -> bool:
        """Return whether none of the places (`loss`, `data.target`), nor anything in or around them, is broken."""
        return not any(
            f"{broken}.".startswith(f"{place}.") or f"{place}.".startswith(f"{broken}.")
            for place in places
            for broken in self.broken
        )

    def trusted(self, problems: Iterable[Problem], columns: Collection[str]) -> list[Problem]:
        """Return those of the problems between `readable` and a data set's columns that rest on no stand-in.

        Where the loss or the data section is broken, only names that no column has are beyond doubt.
        """
        if self.sound("loss", "data"):
            return list(problems)
        return [p for p in problems if self.sound(p.path.split("[")[0]) and p.got not in columns and p.got is not None]


def parse_spec(body: bytes) -> JobSpec:
    """Return the specification in a JSON body.

    Raises:
        MalformedRequest: The body is not JSON.
        InvalidSpec: With every problem of the body, not just the first.
    """
    draft = read_draft(parse_json(body))
    if draft.spec is None:
        raise InvalidSpec(draft.problems)
    return draft.spec


def parse_json(body: bytes) -> Any:
    """Return the JSON value in `body`. NaN and infinity are not JSON; a key may stand once in an object.

    Raises:
        MalformedRequest: The body is not such JSON; the message says why and, where it can, at which place.
    """
    if not body.strip():
        raise MalformedRequest("the body is empty; JSON is expected")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the body is not valid JSON: {error}") from error
    # What cannot be, for want of brackets or colons, need not be looked for: that takes longer than to read the body.
    if body.count(b"[") + body.count(b"{") > MOST_LEVELS and _levels_exceed(value, MOST_LEVELS):
        raise MalformedRequest(f"the body is nested more than {MOST_LEVELS} levels deep")
    # orjson keeps the last of two equal keys without a word; the standard library lets us look.
    if body.count(b":") > (len(value) if isinstance(value, dict) else 0):
        json.loads(body, object_pairs_hook=_refuse_twins)
    return value


def read_draft(value: object) -> Draft:
    """Return the specification in a JSON value, and all that is wrong with it."""
    try:
        spec = JobSpec.model_validate(value)
    except ValidationError as error:
        problems = problems_of(error, value, model=JobSpec)
        broken = frozenset(_place(line["loc"]) for line in error.errors(include_url=False, include_context=False))
        readable = _with_stand_ins(value, broken) if isinstance(value, dict) else None
    else:
        problems, broken, readable = [], frozenset(), spec
    draft = Draft(None, (), readable, broken)
    if readable is not None:
        problems += contradictions(readable, draft.sound)
    return Draft(None if problems else readable, tuple(problems), readable, broken)


def _place(location: tuple[int | str, ...]) -> str:
    """Return the section of an error, and inside of `data` the field."""
    depth = 2 if location[:1] == ("data",) else 1
    return ".".join(str(step) for step in location[:depth])


def _with_stand_ins(value: dict[str, Any], broken: frozenset[str]) -> JobSpec | None:
    sections = {k: v for k, v in value.items() if k not in broken}
    body = {**STAND_INS, **sections}
    if isinstance(body["data"], dict):
        fields = {k: v for k, v in body["data"].items() if f"data.{k}" not in broken}
        body["data"] = {**STAND_INS_OF_DATA, **fields}
    try:
        return JobSpec.model_validate(body)
    except ValidationError:
        return None


def _levels_exceed(value: object, limit: int) -> bool:
    """True when lists and objects stand more than `limit` levels inside one another."""
    level = [value]
    for _ in range(limit + 1):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twin = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise MalformedRequest(f"the key {twin!r} stands twice in one object")
    return found
