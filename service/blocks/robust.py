"""Scaling that a few extreme values do not move."""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from service.blocks.scaling import Floats, Scaling, Statistics, statistics_of
from service.data.frame import Column, Facts, Frame
from service.errors import InvalidInput, Problem


class Robust(Scaling):
    """(x - median) / (upper - lower quantile) of the training rows, for every number column or channel.

    Quantiles are interpolated between the rows next to them; a column whose quantiles are equal keeps its scale.

    Reference: Huber and Ronchetti 2009, "Robust Statistics", section 1.4.
    """

    type: Literal["robust"] = "robust"
    quantiles: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=2)] = [0.25, 0.75]
    """Lower and upper quantile, whose distance becomes 1."""

    @model_validator(mode="after")
    def _check_order(self) -> "Robust":
        if self.quantiles[0] >= self.quantiles[1]:
            raise ValueError("the quantiles must go from a smaller one to a larger one")
        return self

    def fit(self, frame: Frame, facts: Facts) -> dict[str, Any]:
        """Learn median and distance."""
        state: dict[str, Any] = {}
        for name in self.chosen(facts):
            statistics_of(name, frame[name])  # refuses what is empty or infinite
            shift, scale = self._of(frame[name])
            if not (np.isfinite(shift).all() and np.isfinite(scale).all()):
                raise InvalidInput([Problem("", f"column {name!r} holds numbers too large to be scaled", got=name)])
            state[name] = {"shift": shift.tolist(), "scale": scale.tolist()}
        return {"columns": state}

    def _of(self, column: Column) -> tuple[Floats, Floats]:
        values = column.values.reshape(len(column.values), *(column.values.shape[1:2] or (1,)), -1)
        levels = [self.quantiles[0], 0.5, self.quantiles[1]]
        # One channel at a time: a quantile needs all of its values at once, in order.
        found = np.array([np.nanquantile(values[:, c].astype(np.float64), levels) for c in range(values.shape[1])])
        with np.errstate(over="ignore"):
            distance = found[:, 2] - found[:, 0]
        return found[:, 1], np.where(distance > 0, distance, 1.0)

    def constants(self, statistics: Statistics) -> tuple[Floats, Floats]:
        """Say that quantiles do not follow from moments."""
        raise NotImplementedError
