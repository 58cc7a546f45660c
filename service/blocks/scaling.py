"""Scaling: (x - shift) / scale for every number column, element of a vector, or channel of an image or sequence."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from service.blocks.base import Strict
from service.blocks.preprocessing import Preprocessing
from service.blocks.statistics import Floats, Statistics, pieces_of, statistics_of
from service.data.frame import Column, Fact, Facts, Frame, Frames
from service.data.graph_frame import GraphFrame
from service.errors import InvalidInput, Problem


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
    waits = True

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

    def fit(self, frames: Frames, facts: Facts) -> dict[str, Any]:
        """Learn shift and scale; a constant column keeps its scale."""
        found = statistics_of(frames, self.chosen(facts))
        return {"columns": {name: stored(name, *self.constants(known)) for name, known in found.items()}}

    def apply(self, frame: Frame, state: dict[str, Any]) -> Frame:
        """Scale: number columns in float64, tensors to float32."""
        return frame | {name: _scaled(frame[name], **fitted) for name, fitted in state["columns"].items()}

    def in_graph(self, frame: GraphFrame, state: dict[str, Any]) -> GraphFrame:
        def constant(name: str, values: list[float]) -> Tensor:
            axes = frame.tensors[name].ndim - 2 if name in frame.tensors else 0
            return torch.tensor(values, dtype=torch.float64).reshape(-1, *[1] * axes)

        fitted = state["columns"].items()
        return frame.scaled({name: (constant(name, f["shift"]), constant(name, f["scale"])) for name, f in fitted})

    def in_block(self, names: Sequence[str], state: dict[str, Any]) -> Callable[[Floats], Floats]:
        """Scale all columns at once; those that stay are shifted by 0 and divided by 1."""
        nothing = {"shift": [0.0], "scale": [1.0]}
        fitted = [state["columns"].get(name, nothing) for name in names]
        shift, scale = (np.array([each[part][0] for each in fitted]) for part in ("shift", "scale"))
        return lambda values: (values - shift) / scale

    def in_batch(self, fitted: Any, rank: int, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Scale on the device."""
        places = (-1, *[1] * (rank - 2))
        shift, scale = (
            torch.tensor(fitted[name], dtype=torch.float64, device=device).view(places) for name in ("shift", "scale")
        )
        return lambda x: x.double().sub_(shift).div_(scale).float()


class Standardize(Scaling):
    """(x - mean) / deviation: mean 0 and population deviation 1 over the training rows."""

    type: Literal["standardize"] = "standardize"

    def constants(self, statistics: Statistics) -> tuple[Floats, Floats]:
        """Return mean and deviation."""
        return statistics.center, np.where(statistics.constant, 1.0, statistics.std)


class ChannelMean(Scaling):
    """x - mean of its channel over the training rows: of a number column, its mean; the scale stays.

    Reference: Simonyan and Zisserman 2015, "Very Deep Convolutional Networks", section 2.1.
    """

    type: Literal["channel_mean"] = "channel_mean"

    def constants(self, statistics: Statistics) -> tuple[Floats, Floats]:
        """Return the mean, and ones."""
        return statistics.center, np.ones_like(statistics.mean)


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


def stored(name: str, shift: Floats, scale: Floats) -> dict[str, list[float]]:
    """Return what is kept of a column.

    Raises:
        InvalidInput: A constant is not finite.
    """
    if not (np.isfinite(shift).all() and np.isfinite(scale).all()):
        raise InvalidInput([Problem("", f"column {name!r} holds numbers too large to be scaled", got=name)])
    return {"shift": shift.tolist(), "scale": scale.tolist()}


def _scaled(column: Column, shift: list[float], scale: list[float]) -> Column:
    values = column.values
    if column.kind == "number":
        return Column("number", (values - shift[0]) / scale[0], column.indicator)
    places = (-1, *[1] * (values.ndim - 2))
    shifts, scales = np.array(shift).reshape(places), np.array(scale).reshape(places)
    scaled = np.empty(values.shape, np.float32)
    # What float32 cannot hold becomes infinite, and is refused by name where all columns are done.
    with np.errstate(over="ignore"):
        for piece in pieces_of(values):
            scaled[piece] = (values[piece] - shifts) / scales
    return Column("tensor", scaled, column.indicator)
