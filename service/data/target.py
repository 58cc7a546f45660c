"""The target: from columns to what a loss compares with, and predictions back to the target's own units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.blocks.losses import Target, Task
from service.blocks.statistics import Statistics
from service.data.frame import Column, Frame, Frames
from service.data.profile import ColumnProfile, Value
from service.errors import InvalidSpec, Problem
from service.spec import DataSpec


@dataclass(frozen=True, eq=False)
class TargetCodec:
    """The target columns, their classes or their scaling.

    `columns` is how many numbers there are to predict (1 for classification); `shift` and `scale`, float64
    [columns], take an encoded regression target back: value = encoded * scale + shift.
    """

    names: tuple[str, ...]
    task: Task
    classes: tuple[Value, ...] | None
    columns: int
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, data: DataSpec, task: Task, columns: Sequence[ColumnProfile], frames: Frames) -> Self:
        """Take the classes from the data set's profile, and the scaling from the training rows.

        Raises:
            InvalidSpec: A target value is missing or not finite, or the column's classes are not known.
        """
        names = tuple(data.targets)
        if task == "classification":
            classes = classes_of(next(column for column in columns if column.name == names[0]))
            if classes is None:
                raise _refusal(names[0], "has no classes that are known: too many values, or numbers with fractions")
            return cls(names, task, classes, 1, np.zeros(1), np.ones(1))
        seen = _seen(names, frames, zero_or_one=task == "multi_label")
        shift, scale = _scaling(data.target_preprocessing, seen)
        return cls(names, task, None, len(seen.mean), shift, scale)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the numbers to predict: the columns, or column and place of a vector."""
        if len(self.names) == self.columns:
            return self.names
        return tuple(f"{self.names[0]}[{i}]" for i in range(self.columns))

    @property
    def target(self) -> Target:
        """What a loss wants to know of it."""
        return Target(self.classes, self.columns)

    def encode(self, frame: Frame) -> NDArray[np.int64] | NDArray[np.float32]:
        """Return class indices, int64 [rows], or scaled numbers, float32 [rows, columns].

        Raises:
            InvalidSpec: A value is missing, not finite, or none of the classes.
        """
        if self.classes is None:
            return ((_numbers(frame, self.names) - self.shift) / self.scale).astype(np.float32)
        name = self.names[0]
        column = frame[name]
        places = {self._key(value): i for i, value in enumerate(self.classes)}
        found = np.array([places.get(value, -1) for value in column.values.tolist()], np.int64)
        if (found < 0).any():
            value = column.values[int(np.argmax(found < 0))]
            missing = value is None or value != value
            raise _refusal(
                name, "has missing values" if missing else f"holds {value!r}, which is not one of its classes"
            )
        return found

    @staticmethod
    def _key(value: Value) -> str | float:
        return value if isinstance(value, str) else float(value)

    def decode(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return regression outputs [..., columns] in the target's own units."""
        return np.asarray(values, np.float64) * self.scale + self.shift

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "names": list(self.names),
            "task": self.task,
            "classes": None if self.classes is None else list(self.classes),
            "shift": self.shift.tolist(),
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the codec that `to_json` wrote."""
        classes = None if value["classes"] is None else tuple(value["classes"])
        shift, scale = np.array(value["shift"], np.float64), np.array(value["scale"], np.float64)
        return cls(tuple(value["names"]), value["task"], classes, len(shift), shift, scale)


def classes_of(column: ColumnProfile) -> tuple[Value, ...] | None:
    """Return the classes of a column: numbers in their order, text in the alphabet's; None where they are not known."""
    return column.values or None


def _numbers(frame: Frame, names: Sequence[str]) -> NDArray[np.float64]:
    """Return the target columns side by side, float64 [rows, columns]."""
    parts = []
    for name in names:
        values = _checked(name, frame[name]).astype(np.float64)
        parts.append(values.reshape(len(values), -1))
    return np.concatenate(parts, axis=1)


def _seen(names: Sequence[str], frames: Frames, *, zero_or_one: bool) -> Statistics:
    """Return the statistics of the target columns, side by side."""
    found: Statistics | None = None
    rows = 0
    for frame in frames:
        values = _numbers(frame, names)
        if zero_or_one:
            _check_zero_or_one(names, values, rows)
        found = found or Statistics.empty(values.shape[1])
        found.add(values[:, :, None])
        rows += len(values)
    if found is None:
        raise _refusal(names[0], "has no rows to train on")
    return found


def _check_zero_or_one(names: Sequence[str], values: NDArray[np.float64], start: int) -> None:
    strange = ((values != 0) & (values != 1)).any(axis=1)
    if strange.any():
        raise _refusal(names[0], f"holds another number than 0 and 1 in row {start + int(np.argmax(strange))}")


def _checked(name: str, column: Column) -> NDArray[np.generic]:
    if column.kind == "category":
        raise _refusal(name, "holds categories; a regression needs numbers")
    if not np.isfinite(column.values).all():
        raise _refusal(name, "has missing or infinite values")
    return column.values


def _scaling(how: str | None, seen: Statistics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one = np.ones(len(seen.mean))
    if how == "standardize":
        return seen.center, np.where(seen.constant, one, seen.std)
    if how == "min_max":
        return seen.low, np.where(seen.constant, one, seen.high - seen.low)
    return np.zeros(len(seen.mean)), one


def _refusal(name: str, why: str) -> InvalidSpec:
    return InvalidSpec([Problem("data.target", f"column {name!r} {why}", got=name)])
