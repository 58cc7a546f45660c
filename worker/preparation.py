"""Rows on their way to tensors: divided, everything fitted on the training rows only, and put where they are kept."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.data.facts import features_of
from service.data.frame import Frame
from service.data.holding import Holding
from service.data.pipeline import Features, TargetCodec
from service.data.profile import ColumnProfile
from service.errors import InvalidInput, InvalidSpec, Problem
from service.spec import JobSpec
from worker.source import Source
from worker.split import Parts, divide
from worker.weights import weights_of

Array = NDArray[Any]


class Keep(Protocol):
    """Where arrays go."""

    def put(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[Array]) -> Array:
        """Take an array that comes in parts, and return it whole; it may lie in a file."""
        ...


class InMemory:
    """Keeps arrays in memory."""

    def put(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[Array]) -> Array:
        """Take an array that comes in parts."""
        whole, start = np.empty(shape, dtype), 0
        for part in parts:
            whole[start : start + len(part)] = part
            start += len(part)
        return whole


@dataclass(frozen=True)
class Prepared:
    """Everything that became of the rows of a data set: see `TrainingData`."""

    x: Array
    y: Array
    parts: Parts
    weight: Array | None
    features: Features
    target: TargetCodec
    outputs: int


def prepared(source: Source, columns: Sequence[ColumnProfile], spec: JobSpec, keep: Keep) -> Prepared:
    """Divide the rows, fit everything on the training rows only, and keep tensors of all.

    What is held meanwhile of every row are its class, its part and its weight; features and numbers to predict go by.

    Raises:
        InvalidSpec: The rows do not fit the spec; the problem names the column.
    """
    data, task = spec.data, spec.loss.task
    classes = data.targets if task == "classification" else []
    aside = source.whole([*classes, *data.set_aside])
    if task != "regression":
        # The classes are the data set's, so they are there before the rows are divided, and can guide it.
        target = TargetCodec.fit(data, task, columns, [aside] if classes else source.frames(data.targets))
        y = _encoded(source, aside if classes else None, spec, target, keep)
        parts = divide(spec, aside, y if classes else None, source.rows)
    else:
        parts = divide(spec, aside, None, source.rows)
        target = TargetCodec.fit(data, task, columns, source.some(data.targets, parts.train))
        y = _encoded(source, None, spec, target, keep)
    names = [column.name for column in features_of(data, columns)]
    features = Features.fit(data, columns, source.some(names, parts.train))
    holding = Holding(features)
    shape = (source.rows, *features.input_shape)
    with _of_columns():
        holding.check(columns)
    return Prepared(
        x=keep.put("x", shape, holding.dtype, _held(source, names, holding)),
        y=y,
        parts=parts,
        weight=weights_of(spec, aside, target, y, parts.train),
        features=features,
        target=target,
        outputs=_outputs(spec, target),
    )


def _encoded(source: Source, aside: Frame | None, spec: JobSpec, target: TargetCodec, keep: Keep) -> Array:
    """Return the encoded target; of classes, which are in memory, at once."""
    if aside is not None:
        return keep.put("y", (source.rows,), np.dtype(np.int64), [target.encode(aside)])

    def parts() -> Iterator[Array]:
        for start, frame in source.numbered(spec.data.targets):
            encoded = target.encode(frame)
            if spec.loss.task == "regression" and (why := spec.loss.refusal(encoded, start)):
                raise InvalidSpec([Problem("data.target", f"the target {why}", got=spec.data.target)])
            yield encoded

    return keep.put("y", (source.rows, target.columns), np.dtype(np.float32), parts())


def _held(source: Source, names: Sequence[str], holding: Holding) -> Iterator[Array]:
    for frame in source.frames(names):
        with _of_columns():
            held = holding.of(frame)
        yield held


@contextmanager
def _of_columns() -> Iterator[None]:
    """Say of what a row of a request would have done wrong that it is a column which should be left out."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidSpec([replace(problem, path="data.features") for problem in error.problems]) from error


def _outputs(spec: JobSpec, target: TargetCodec) -> int:
    try:
        return spec.loss.outputs(target.target)
    except ValueError as error:
        raise InvalidSpec([Problem("loss", str(error), got=spec.loss.type)]) from error
