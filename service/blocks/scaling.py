"""Scaling: (x - shift) / scale for every number column, element of a vector, or channel of an image or sequence."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from service.blocks.base import Strict
from service.blocks.preprocessing import Preprocessing
from service.data.frame import Column, Fact, Facts, Frame
from service.data.graph_frame import GraphFrame
from service.errors import InvalidInput, Problem

PIECE = 1 << 20
"""Elements that are converted at one time, so that a data set of images is never held in float64."""

Floats = NDArray[np.float64]


@dataclass
class Statistics:
    """Running statistics of each channel, [channels], without missing values."""

    count: Floats
    mean: Floats
    squares: Floats
    low: Floats
    high: Floats

    @property
    def std(self) -> Floats:
        """Population deviation."""
        return np.sqrt(self.squares / self.count)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Where all numbers are the same: rounding may give them a deviation, but there is none."""
        same: NDArray[np.bool_] = self.low == self.high
        return same


class Constants(Strict):
    """Shift and scale of a column, one for each channel."""

    shift: Annotated[list[float], Field(min_length=1)]
    scale: Annotated[list[float], Field(min_length=1)]


class ScalingState(Strict):
    """What scaling learns."""

    columns: dict[str, Constants]


class Scaling(Preprocessing):
    """A step that shifts and scales numbers; 0/1 codes and text stay as they are."""

    learned = ScalingState

    def suits(self, fact: Fact) -> bool:
        """Tell whether the column holds numbers that are not codes."""
        return fact.kind != "category" and not fact.indicator

    def refusal(self, name: str, facts: Facts) -> str | None:
        """Refuse categories."""
        return "holds categories, which cannot be scaled" if facts[name].kind == "category" else None

    def plan(self, facts: Facts) -> Facts:
        """Shapes stay; the values of the data set are no longer there."""
        return facts | {name: replace(facts[name], counts=None, vocabulary=None) for name in self.chosen(facts)}

    def constants(self, statistics: Statistics) -> tuple[Floats, Floats]:
        """Return shift and scale, [channels]."""
        raise NotImplementedError

    def fit(self, frame: Frame, facts: Facts) -> dict[str, Any]:
        """Learn shift and scale; a constant column keeps its scale."""
        state: dict[str, Any] = {}
        for name in self.chosen(facts):
            shift, scale = self.constants(statistics_of(name, frame[name]))
            if not (np.isfinite(shift).all() and np.isfinite(scale).all()):
                raise InvalidInput([Problem("", f"column {name!r} holds numbers too large to be scaled", got=name)])
            state[name] = {"shift": shift.tolist(), "scale": scale.tolist()}
        return {"columns": state}

    def apply(self, frame: Frame, state: dict[str, Any]) -> Frame:
        """Scale: number columns in float64, tensors to float32."""
        return frame | {name: _scaled(frame[name], **fitted) for name, fitted in state["columns"].items()}

    def in_graph(self, frame: GraphFrame, state: dict[str, Any]) -> GraphFrame:
        def constant(name: str, values: list[float]) -> Tensor:
            axes = frame.tensors[name].ndim - 2 if name in frame.tensors else 0
            return torch.tensor(values, dtype=torch.float64).reshape(-1, *[1] * axes)

        fitted = state["columns"].items()
        return frame.scaled({name: (constant(name, f["shift"]), constant(name, f["scale"])) for name, f in fitted})


class Standardize(Scaling):
    """(x - mean) / deviation: mean 0 and population deviation 1 over the training rows."""

    type: Literal["standardize"] = "standardize"

    def constants(self, statistics: Statistics) -> tuple[Floats, Floats]:
        """Return mean and deviation."""
        same = statistics.constant
        return np.where(same, statistics.low, statistics.mean), np.where(same, 1.0, statistics.std)


class ChannelMean(Scaling):
    """x - mean of its channel over the training rows: of a number column, its mean; the scale stays.

    Reference: Simonyan and Zisserman 2015, "Very Deep Convolutional Networks", section 2.1.
    """

    type: Literal["channel_mean"] = "channel_mean"

    def constants(self, statistics: Statistics) -> tuple[Floats, Floats]:
        """Return the mean, and ones."""
        return np.where(statistics.constant, statistics.low, statistics.mean), np.ones_like(statistics.mean)


class MinMax(Scaling):
    """Scales the training rows' least number to the start of `range` and their largest to its end."""

    type: Literal["min_max"] = "min_max"
    range: Annotated[list[float], Field(min_length=2, max_length=2)] = [0.0, 1.0]
    """Least and largest value of the scaled numbers."""

    @model_validator(mode="after")
    def _check_range(self) -> "MinMax":
        if self.range[0] >= self.range[1]:
            raise ValueError("the range must go from a smaller number to a larger one")
        return self

    def constants(self, statistics: Statistics) -> tuple[Floats, Floats]:
        """Return what takes [low, high] to the range."""
        low, high = self.range
        with np.errstate(over="ignore", invalid="ignore"):
            spread = (statistics.high - statistics.low) / (high - low)
            scale = np.where(statistics.constant, 1.0, spread)
            return statistics.low - low * scale, scale


def pieces_of(values: NDArray[np.generic]) -> Iterator[slice]:
    """Yield slices of rows that are converted at one time."""
    step = max(1, PIECE // max(1, values[:1].size))
    return (slice(start, start + step) for start in range(0, len(values), step))


def statistics_of(name: str, column: Column) -> Statistics:
    """Return the statistics of each channel: the second axis, or the column itself where there is none."""
    values = column.values.reshape(len(column.values), *(column.values.shape[1:2] or (1,)), -1)
    channels = values.shape[1]
    none, far = np.zeros(channels), np.full(channels, np.inf)
    full = Statistics(none, none.copy(), none.copy(), far, -far)
    # Infinite numbers are refused below, and so are those whose squares overflow, by their deviation.
    with np.errstate(over="ignore", invalid="ignore"):
        for piece in pieces_of(values):
            _add(full, values[piece].astype(np.float64))
    if not full.count.all():
        raise InvalidInput([Problem("", f"column {name!r} has no values in the training rows", got=name)])
    if not (np.isfinite(full.low).all() and np.isfinite(full.high).all()):
        raise InvalidInput([Problem("", f"column {name!r} holds infinite values", got=name)])
    return full


def _add(full: Statistics, piece: Floats) -> None:
    """Take in a piece [rows, channels, places] (Chan, Golub, LeVeque 1979)."""
    known = ~np.isnan(piece)
    count = known.sum((0, 2))
    mean = np.where(known, piece, 0.0).sum((0, 2)) / np.maximum(count, 1)
    squares = (np.where(known, piece - mean[:, None], 0.0) ** 2).sum((0, 2))
    total = full.count + count
    step = np.where(count > 0, mean - full.mean, 0.0)
    full.squares += squares + step**2 * (full.count * count / np.maximum(total, 1))
    full.mean += step * (count / np.maximum(total, 1))
    full.count = total
    full.low = np.minimum(full.low, np.where(known, piece, np.inf).min((0, 2)))
    full.high = np.maximum(full.high, np.where(known, piece, -np.inf).max((0, 2)))


def _scaled(column: Column, shift: list[float], scale: list[float]) -> Column:
    values = column.values
    if column.kind == "number":
        return Column("number", (values - shift[0]) / scale[0], column.indicator)
    places = (-1, *[1] * (values.ndim - 2))
    shifts, scales = np.array(shift).reshape(places), np.array(scale).reshape(places)
    scaled = np.empty(values.shape, np.float32)
    for piece in pieces_of(values):
        scaled[piece] = (values[piece] - shifts) / scales
    return Column("tensor", scaled, column.indicator)
