"""Scaling that a few extreme values do not move."""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from service.blocks.quantiles import quantiles_of
from service.blocks.scaling import Scaling, stored
from service.blocks.statistics import Floats, Statistics
from service.data.frame import Facts, Frames


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

    def fit(self, frames: Frames, facts: Facts) -> dict[str, Any]:
        """Learn median and distance."""
        lower, upper = self.quantiles
        found = quantiles_of(frames, self.chosen(facts), [lower, 0.5, upper])
        return {"columns": {name: stored(name, *_constants(levels)) for name, levels in found.items()}}

    def constants(self, statistics: Statistics) -> tuple[Floats, Floats]:
        """Say that quantiles do not follow from moments."""
        raise NotImplementedError


def _constants(levels: Floats) -> tuple[Floats, Floats]:
    """Return shift and scale, [channels], of quantiles [channels, 3]."""
    with np.errstate(over="ignore"):
        distance = levels[:, 2] - levels[:, 0]
    return levels[:, 1], np.where(distance > 0, distance, 1.0)
