"""Features: from columns as they were uploaded to the tensor a network takes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from service.blocks.base import Shape
from service.blocks.preprocessing import AnyPreprocessing, Preprocessing
from service.data.facts import (
    facts_of,
    features_of,
    laid_out_shape,
    leftovers,
    moves_channels,
    planned,
    prefixed,
    shape_of,
    vocabulary_of,
)
from service.data.frame import Column, Frame, Frames
from service.data.profile import ColumnProfile
from service.data.rows import are_numbers, block_of, frame_of_rows
from service.errors import InvalidInput, InvalidRows, InvalidSpec, Problem
from service.spec import DataSpec

_STEPS: TypeAdapter[Preprocessing] = TypeAdapter(AnyPreprocessing)


@dataclass(frozen=True)
class Features:
    """The feature columns, how tensors are laid out, and the fitted steps: all a model needs to read raw rows."""

    columns: tuple[ColumnProfile, ...]
    layout: str
    steps: tuple[tuple[Preprocessing, dict[str, Any]], ...]
    input_shape: Shape
    vocabulary: int | None = None
    """How many token ids there are, where the features are such."""

    @classmethod
    def fit(cls, data: DataSpec, columns: Sequence[ColumnProfile], frames: Frames) -> Self:
        """Fit every step to the training rows, each on what the steps before it give.

        Raises:
            InvalidSpec: The columns cannot be made into numbers; the problem names column and step.
        """
        features = features_of(data, columns)
        facts = facts_of(features, data.image_layout)
        final, problems = planned(data, facts)
        if problems := problems + leftovers(final):
            raise InvalidSpec(problems)
        through = Through(frames, [column.name for column in features], data.image_layout)
        for i, step in enumerate(data.preprocessing):
            try:
                state = step.fit(through, facts)
            except InvalidInput as error:
                raise InvalidSpec(prefixed(error.problems, f"data.preprocessing[{i}]")) from error
            through.steps.append((step, state))
            facts = step.plan(facts)
        kept = tuple(map(_essence, features))
        return cls(kept, data.image_layout, tuple(through.steps), shape_of(facts), vocabulary_of(facts))

    def transform(self, frame: Frame) -> NDArray[np.float32]:
        """Return what the network takes, float32 [rows, *input_shape]; images with their channels first.

        Raises:
            InvalidRows: A value is unknown to a step, or not finite; paths are `rows[i].COLUMN`.
        """
        frame = laid_out(frame, self._names, self.layout)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite in the end is refused by name
            for step, state in self.steps:
                frame = step.apply(frame, state)
        return _joined(frame)

    def read_rows(self, rows: Sequence[object]) -> Frame:
        """Return rows of a request as columns; only where a step fills them in may values be missing.

        Raises:
            InvalidRows: Everything that does not fit, by path.
        """
        return frame_of_rows(rows, self.columns, self.fillable)

    def of_rows(self, rows: Sequence[object]) -> NDArray[np.float32]:
        """Return rows of a request as the network takes them, float32 [rows, *input_shape].

        Raises:
            InvalidRows: Everything that does not fit, by path.
        """
        if self._in_block is not None and (values := block_of(rows, self._names)) is not None:
            with np.errstate(over="ignore"):
                for step in self._in_block:
                    values = step(values)
                made = values.astype(np.float32)
            if np.isfinite(made).all():
                return made
        return self.transform(self.read_rows(rows))

    @cached_property
    def _in_block(self) -> list[Callable[[NDArray[np.float64]], NDArray[np.float64]]] | None:
        """The steps for rows of finite numbers in one piece; None where a column or a step is not of that kind."""
        if not are_numbers(self.columns):
            return None
        steps = [step.in_block(self._names, state) for step, state in self.steps]
        return None if None in steps else [step for step in steps if step is not None]

    @cached_property
    def fillable(self) -> frozenset[str]:
        """Columns whose missing values a step fills in."""
        return frozenset(name for step, state in self.steps if step.fills for name in state["columns"])

    @cached_property
    def _names(self) -> list[str]:
        return [column.name for column in self.columns]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "columns": [column.model_dump(mode="json", exclude_defaults=True) for column in self.columns],
            "layout": self.layout,
            "steps": [{"step": step.model_dump(mode="json"), "state": state} for step, state in self.steps],
            "input_shape": list(self.input_shape),
            "vocabulary": self.vocabulary,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the features that `to_json` wrote."""
        return cls(
            tuple(ColumnProfile.model_validate(column) for column in value["columns"]),
            value["layout"],
            tuple((_STEPS.validate_python(item["step"]), item["state"]) for item in value["steps"]),
            tuple(value["input_shape"]),
            value.get("vocabulary"),
        )


@dataclass
class Through:
    """Frames as they are behind the steps so far: each is made anew whenever they are gone over."""

    frames: Frames
    names: list[str]
    layout: str
    steps: list[tuple[Preprocessing, dict[str, Any]]] = field(default_factory=list)

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.frames:
            made = laid_out(frame, self.names, self.layout)
            for step, state in self.steps:
                made = step.apply(made, state)
            yield made


def _essence(column: ColumnProfile) -> ColumnProfile:
    """Return the column without its statistics: what is needed to read a row."""
    return ColumnProfile(name=column.name, type=column.type, shape=column.shape, dtype=column.dtype)


def laid_out(frame: Frame, names: Sequence[str], layout: str) -> Frame:
    """Return the columns `names` of a frame, tensors with their channels first."""
    return {name: _channels_first(frame[name], layout) for name in names}


def _channels_first(column: Column, layout: str) -> Column:
    if column.kind != "tensor":
        return column
    shape, values = column.values.shape[1:], column.values
    if moves_channels(shape, layout):
        values = np.moveaxis(values, -1, 1)
    return Column("tensor", values.reshape(-1, *laid_out_shape(shape, layout)))


def _joined(frame: Frame) -> NDArray[np.float32]:
    """Put numbers and vectors side by side; a tensor of more axes stands alone."""
    columns = list(frame.values())
    # A float64 beyond float32's range becomes infinite, which is then refused by name.
    with np.errstate(over="ignore"):
        if len(columns) == 1 and columns[0].kind == "tensor":
            joined = np.ascontiguousarray(columns[0].values, np.float32)
        elif all(column.kind == "number" for column in columns):
            joined = np.array([column.values for column in columns]).T.astype(np.float32, order="C")
        else:
            joined = _side_by_side(columns)
    if not np.isfinite(joined).all():
        raise InvalidRows(_not_finite(frame))
    return joined


def _side_by_side(columns: list[Column]) -> NDArray[np.float32]:
    parts = [column.values.reshape(len(column.values), -1) for column in columns]
    joined = np.empty((len(parts[0]), sum(part.shape[1] for part in parts)), np.float32)
    start = 0
    for part in parts:
        joined[:, start : start + part.shape[1]] = part
        start += part.shape[1]
    return joined


def _not_finite(frame: Frame) -> list[Problem]:
    problems = []
    for name, column in frame.items():
        with np.errstate(over="ignore"):
            finite = np.isfinite(column.values.reshape(len(column.values), -1).astype(np.float32)).all(1)
        if not finite.all():
            problems.append(Problem(f"rows[{int(np.argmin(finite))}].{name}", "must be a finite number in float32"))
    return problems
