"""Functions that bring far values near: logarithm and arctangent."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from service.blocks.preprocessing import Names, Preprocessing
from service.blocks.statistics import Floats, pieces_of
from service.data.frame import Column, Fact, Facts, Frame, Frames
from service.data.graph_frame import GraphFrame
from service.errors import InvalidInput, InvalidRows, Problem

SHOWN = 100


class Squashing(Preprocessing):
    """Base of the functions of single numbers, which learn nothing."""

    learned = Names

    def suits(self, fact: Fact) -> bool:
        """Tell whether the column holds numbers that are not codes."""
        return fact.kind != "category" and not fact.indicator

    def refusal(self, name: str, facts: Facts) -> str | None:
        """Refuse categories."""
        return "holds categories, not numbers" if facts[name].kind == "category" else None

    def plan(self, facts: Facts) -> Facts:
        """Shapes stay; the values of the data set are no longer there."""
        return facts | {name: replace(facts[name], counts=None, vocabulary=None) for name in self.chosen(facts)}

    def outside(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell where the function has no value."""
        return np.zeros(values.shape, np.bool_)

    def of(self, values: Floats) -> Floats:
        """Return the function of numbers, elementwise."""
        raise NotImplementedError

    def fit(self, frames: Frames, facts: Facts) -> dict[str, Any]:
        """Learn nothing, but see that the function has a value everywhere."""
        chosen = self.chosen(facts)
        for frame in frames if chosen else ():
            for name in chosen:
                self._see(name, frame[name].values)
        return {"columns": dict.fromkeys(chosen)}

    def _see(self, name: str, values: NDArray[Any]) -> None:
        outside = self.outside(values)
        if outside.any():
            message = f"column {name!r} holds {float(values[outside].min()):g}, of which {self.type} has no value"
            raise InvalidInput([Problem("", message, got=name)])

    def apply(self, frame: Frame, state: dict[str, Any]) -> Frame:
        """Apply the function.

        Raises:
            InvalidRows: It has no value for a number; paths are `rows[i].COLUMN`.
        """
        for name in state["columns"]:
            self._check(name, frame[name].values)
        return frame | {name: _mapped(frame[name], self.of) for name in state["columns"]}

    def function(self, values: Tensor) -> Tensor:
        """Return what `of` returns, of float64; NaN where it has no value."""
        raise NotImplementedError

    def in_graph(self, frame: GraphFrame, state: dict[str, Any]) -> GraphFrame:
        return frame.mapped(list(state["columns"]), self.function)

    def _check(self, name: str, values: NDArray[Any]) -> None:
        outside = self.outside(values).reshape(len(values), -1).any(1)
        if outside.any():
            rows = np.flatnonzero(outside)[:SHOWN].tolist()
            message = f"{self.type} has no value for this number"
            raise InvalidRows([Problem(f"rows[{i}].{name}", message) for i in rows])


def _mapped(column: Column, function: Callable[[Floats], Floats]) -> Column:
    values = column.values
    if column.kind == "number":
        return Column("number", function(values), column.indicator)
    mapped = np.empty(values.shape, np.float32)
    for piece in pieces_of(values):
        mapped[piece] = function(values[piece].astype(np.float64))
    return Column("tensor", mapped, column.indicator)


class Log(Squashing):
    """log(x + offset), or sign(x) * log(1 + |x| / offset) when `signed`: for numbers that span many sizes."""

    type: Literal["log"] = "log"
    offset: Annotated[float, Field(ge=0, le=1e12)] = 1.0
    """Added before the logarithm is taken; with `signed`, the size up to which numbers stay nearly as they are."""
    signed: bool = False
    """Whether numbers below 0 are mirrored instead of refused."""

    def outside(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        if self.signed:
            return np.zeros(values.shape, np.bool_)
        found: NDArray[np.bool_] = values <= -self.offset
        return found

    def of(self, values: Floats) -> Floats:
        if self.signed:
            return np.asarray(np.sign(values) * np.log1p(np.abs(values) / max(self.offset, 1e-12)), np.float64)
        return np.asarray(np.log(values + self.offset), np.float64)

    def function(self, values: Tensor) -> Tensor:
        if self.signed:
            return values.sign() * (values.abs() / max(self.offset, 1e-12) + 1.0).log()
        shifted = values + self.offset
        return torch.where(shifted > 0, shifted, torch.nan).log()


class Arctan(Squashing):
    """arctan(x / scale): numbers far beyond `scale` end near -pi/2 and pi/2."""

    type: Literal["arctan"] = "arctan"
    scale: Annotated[float, Field(gt=0, le=1e12)] = 1.0
    """Size up to which numbers stay nearly in proportion."""

    def of(self, values: Floats) -> Floats:
        return np.asarray(np.arctan(values / self.scale), np.float64)

    def function(self, values: Tensor) -> Tensor:
        # Other programs have it in float32 only.
        return torch.atan((values / self.scale).float()).double()
