"""Rows whose truth is known: from a stored data set, batch by batch, or from a request."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from service.data.formats import read_batches
from service.data.frame import Frame, rows_of
from service.data.profile import ColumnProfile
from service.data.rows import frame_of_rows
from service.errors import InvalidInput, InvalidRows, InvalidSpec, Problem
from service.predict.cache import LoadedModel
from service.predict.predict import check_tokens
from service.store.blobs import read_blob
from service.store.engine import Store
from service.store.tables import Dataset

BATCH_BYTES = 16 << 20
MOST_ROWS = 8_192
"""Rows of a batch, however narrow they are."""
NUMBERS = ("integer", "number", "boolean")


@dataclass(frozen=True)
class Labelled:
    """Some rows: what the network takes, [R, *shape], and the encoded target, int64 [R] or float32 [R, columns]."""

    x: Tensor
    y: Tensor
    start: int
    """Number of the first row."""


def frames(store: Store, dataset: Dataset, loaded: LoadedModel) -> Iterator[Frame]:
    """Yield the columns that the model reads and predicts, some rows at a time.

    Raises:
        InvalidInput: The data set lacks a column, or has it with another shape.
        InvalidDataset: A value does not fit the type that the model knows the column by.
    """
    columns = [ColumnProfile.model_validate(column) for column in dataset.columns]
    wanted = matched((*loaded.features.columns, *loaded.target_columns), {column.name: column for column in columns})
    cells = sum(math.prod(column.shape or ()) for column in wanted)
    rows = max(1, min(MOST_ROWS, BATCH_BYTES // (8 * max(cells, 1))))
    return read_batches(read_blob(store, dataset.sha256), dataset.format, columns, wanted, rows)


def matched(known: Sequence[ColumnProfile], by_name: Mapping[str, ColumnProfile]) -> list[ColumnProfile]:
    """Return columns of a data set as the model knows them, numbers as the data set has them.

    Raises:
        InvalidInput: One is missing, or has another shape.
    """
    wanted, problems = [], []
    for column in known:
        found = by_name.get(column.name)
        if found is None:
            message = f"the data set has no column {column.name!r}, which the model needs"
            problems.append(Problem("dataset", message, column.name, list(by_name)[:100]))
        elif (found.shape or ()) != (column.shape or ()):
            message = f"column {column.name!r} has another shape than the model knows"
            problems.append(Problem("dataset", message, list(found.shape or ()), list(column.shape or ())))
        else:
            wanted.append(found if column.type in NUMBERS and found.type in NUMBERS else column)
    if problems:
        raise InvalidInput(problems)
    return wanted


def labelled(loaded: LoadedModel, parts: Iterator[Frame]) -> Iterator[Labelled]:
    """Yield the rows of frames as tensors.

    Raises:
        InvalidInput: A row does not fit the model; the message says which.
    """
    start = 0
    for frame in parts:
        with _named(start):
            yield encoded(loaded, frame, start)
        start += rows_of(frame)


def of_rows(loaded: LoadedModel, rows: Sequence[object]) -> Labelled:
    """Return rows of a request, each with its target columns, behind the others where it is an array.

    Raises:
        InvalidRows: Everything that does not fit, by path.
    """
    columns = (*loaded.features.columns, *loaded.target_columns)
    frame = frame_of_rows(rows, columns, loaded.features.fillable)
    try:
        return encoded(loaded, frame, 0)
    except InvalidSpec as error:
        raise InvalidRows([Problem("rows", problem.message, problem.got) for problem in error.problems]) from error


def encoded(loaded: LoadedModel, frame: Frame, start: int) -> Labelled:
    """Return the rows of a frame as tensors.

    Raises:
        InvalidRows: A value of a feature does not fit; paths are `rows[i].COLUMN`.
        InvalidSpec: One of the target does not.
    """
    y = loaded.target.encode(frame)
    if loaded.target.task == "regression" and (why := loaded.spec.loss.refusal(y)):
        raise InvalidSpec([Problem("data.target", f"the target {why}")])
    x = torch.from_numpy(loaded.features.transform(frame))
    check_tokens(loaded, x)
    return Labelled(x, torch.from_numpy(y), start)


@contextmanager
def _named(start: int) -> Iterator[None]:
    """Say of what is wrong with a row of a batch in which row of the data set it stands."""
    try:
        yield
    except (InvalidRows, InvalidSpec) as error:
        raise InvalidInput([_of_dataset(problem, start) for problem in error.problems]) from error


def _of_dataset(problem: Problem, start: int) -> Problem:
    message = problem.message
    if problem.path.startswith("rows["):
        row, _, column = problem.path.removeprefix("rows[").partition("]")
        place = f"row {start + int(row)}" + (f", column {column[1:]!r}" if column else "")
        message = f"{place}: {message}"
    return Problem("dataset", message, problem.got, problem.allowed)
