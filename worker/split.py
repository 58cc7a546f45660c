"""How rows are divided: by chance, by their order, by group, or as a column of the data set says."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from service.data.frame import Frame, rows_of
from service.data.roles import PARTS
from service.errors import InvalidSpec, Problem
from service.randomness import generator
from service.spec import JobSpec

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """Row numbers of the three parts, ascending."""

    train: Index
    validation: Index
    test: Index


def divide(spec: JobSpec, frame: Frame, classes: NDArray[Any] | None = None, rows: int | None = None) -> Parts:
    """Divide the rows of a frame as the spec asks; `classes` are those of the target, where it has any.

    `rows` says how many there are where the frame has no column.

    Raises:
        InvalidSpec: A part would be empty, or the column that divides holds something else than parts.
    """
    wanted = spec.data.split
    if wanted.column is not None:
        return _by_column(spec, frame[wanted.column].values, classes)
    if wanted.group is not None:
        return _by_group(spec, frame[wanted.group].values)
    return split(spec, rows_of(frame) if rows is None else rows, classes)


def split(spec: JobSpec, rows: int, classes: NDArray[Any] | None = None) -> Parts:
    """Divide rows: a function of the seed, the number of rows and, where stratified, of their classes.

    Raises:
        InvalidSpec: There are fewer rows than parts.
    """
    _, validation, test = _sizes(spec, rows)
    if spec.data.split.shuffle:
        order = _order(_seed(spec), rows, classes if classes is not None and _stratified(spec, classes) else None)
    else:
        order = np.arange(rows)[::-1]
    held_out = test + validation
    return Parts(np.sort(order[held_out:]), np.sort(order[test:held_out]), np.sort(order[:test]))


def _seed(spec: JobSpec) -> int:
    own = spec.data.split.seed
    return spec.training.seed if own is None else own


def _sizes(spec: JobSpec, rows: int) -> tuple[int, int, int]:
    """Return how many rows train, validate and test."""
    wanted = spec.data.split
    test, validation = (_share(rows, fraction) for fraction in (wanted.test, wanted.validation))
    train = rows - test - validation
    if train < 1:
        message = f"{rows} rows leave none to train on"
        raise InvalidSpec([Problem("data.split", message, {"validation": wanted.validation, "test": wanted.test})])
    return train, validation, test


def _share(rows: int, fraction: float) -> int:
    """Return the nearest number of rows, but at least one of a part that was asked for."""
    return max(1, math.floor(rows * fraction + 0.5)) if fraction > 0 else 0


def _stratified(spec: JobSpec, classes: NDArray[Any]) -> bool:
    """Tell whether the shares of the classes are kept; "auto": where every class has a row for every part."""
    wanted = spec.data.split
    if wanted.stratify == "auto":
        parts = 1 + (wanted.validation > 0) + (wanted.test > 0)
        return bool(np.unique_counts(classes).counts.min() >= parts)
    return wanted.stratify


def _order(seed: int, rows: int, classes: NDArray[Any] | None) -> Index:
    """Return the rows in the order in which they are dealt to test, validation and training.

    Stratified: each class is spread evenly over the order, from a random start, so that every stretch of it
    has the shares of the whole, to within one row of each class (systematic sampling).
    """
    draws = generator(seed, "split")
    order: Index = torch.randperm(rows, generator=draws).numpy()
    if classes is None:
        return order
    starts = torch.rand(int(classes.max()) + 1, generator=draws, dtype=torch.float64).numpy()
    shuffled = classes[order]
    grouped = np.argsort(shuffled, kind="stable")
    _, firsts, counts = np.unique(shuffled[grouped], return_index=True, return_counts=True)
    rank = np.empty(rows)
    rank[grouped] = np.arange(rows) - np.repeat(firsts, counts)
    size = np.bincount(classes)
    return order[np.argsort((rank + starts[shuffled]) / size[shuffled], kind="stable")]


def _by_column(spec: JobSpec, values: NDArray[Any], classes: NDArray[Any] | None) -> Parts:
    """Follow the column; fractions then take their share of the rows that it leaves to training."""
    places = {part: place for place, part in enumerate(PARTS)}
    place_of = np.array([places.get(value, -1) for value in values.tolist()])
    if (place_of < 0).any():
        column, wrong = spec.data.split.column, values[np.argmin(place_of)]
        message = f"column {column!r} holds {wrong!r}, which is no part"
        raise InvalidSpec([Problem("data.split.column", message, got=column, allowed=list(PARTS))])
    train, validation, test = (np.flatnonzero(place_of == place) for place in range(len(PARTS)))
    of_train = split(spec, len(train), None if classes is None else classes[train])
    return Parts(
        train[of_train.train],
        np.sort(np.concatenate([validation, train[of_train.validation]])),
        np.sort(np.concatenate([test, train[of_train.test]])),
    )


def _by_group(spec: JobSpec, values: NDArray[Any]) -> Parts:
    """Deal whole groups, the largest first, each to the part that lacks the most rows.

    Groups of one size come in an order drawn by chance. What remains small fills the gaps, so that the parts come
    near their shares; no part ends up without a group.
    """
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    lacking = np.array(_sizes(spec, len(values)))
    empty = lacking > 0
    if len(size) < empty.sum():
        message = f"{len(size)} groups cannot be divided into {empty.sum()} parts"
        raise InvalidSpec([Problem("data.split.group", message, got=spec.data.split.group)])
    order = torch.randperm(len(size), generator=generator(_seed(spec), "split")).numpy()
    part_of = np.empty(len(size), np.int64)
    for left, chosen in zip(range(len(size), 0, -1), order[np.argsort(-size[order], kind="stable")], strict=True):
        open_to = empty if left == empty.sum() else lacking > 0
        part = int(np.argmax(np.where(open_to, lacking, -1)))
        part_of[chosen], empty[part] = part, False
        lacking[part] -= size[chosen]
    return Parts(*(np.flatnonzero(part_of[group] == part) for part in range(len(PARTS))))
