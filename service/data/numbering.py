"""Rows that come in parts: problems name them by their places in the whole."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from service.errors import InvalidRows, Problem

_ROW = re.compile(r"rows\[([0-9]+)\]")


def row_of(problem: Problem) -> tuple[int | None, str | None]:
    """Return the row that a problem names, and the column; None where it names none."""
    found = _ROW.match(problem.path)
    if found is None:
        return None, None
    return int(found[1]), problem.path[found.end() :].removeprefix(".") or None


@contextmanager
def numbered(start: int) -> Iterator[None]:
    """Have what is raised in the block, whose rows count from 0, name them as those from `start` on."""
    try:
        yield
    except InvalidRows as error:
        raise InvalidRows([_moved(problem, start) for problem in error.problems]) from error


def _moved(problem: Problem, start: int) -> Problem:
    found = _ROW.match(problem.path)
    if found is None or not start:
        return problem
    return replace(problem, path=f"rows[{start + int(found[1])}]{problem.path[found.end() :]}")
