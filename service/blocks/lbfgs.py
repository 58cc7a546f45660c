"""L-BFGS: curvature from the last steps, and a search along each direction."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from service.blocks.optimizers import Optimizer, Parameters

EVALUATIONS = 25
"""Looks at the loss that there are for every line search; most need one or two."""


class Lbfgs(Optimizer):
    """Quasi-Newton steps from the last gradients, each with a line search for the strong Wolfe conditions.

    Made for `"batch_size": "all"`: the curvature of one batch says little of the next. A step of training is up to
    `iterations` steps of L-BFGS on its rows.

    Reference: Liu and Nocedal 1989, "On the Limited Memory BFGS Method for Large Scale Optimization"; Nocedal and
    Wright 2006, "Numerical Optimization", algorithms 7.5 and 3.5.
    """

    type: Literal["lbfgs"] = "lbfgs"
    searches: ClassVar[bool] = True
    learning_rate: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    """First step length that the line search tries, before the schedule."""
    iterations: Annotated[int, Field(ge=1, le=1000)] = 10
    """Most steps of L-BFGS in one step of training."""
    history: Annotated[int, Field(ge=1, le=1000)] = 10
    """How many steps the curvature is estimated from."""

    @property
    def state_tensors(self) -> int:
        return 2 * self.history + 2

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(
            parameters,
            lr=self.learning_rate,
            max_iter=self.iterations,
            # torch's default, 5/4 of the iterations, leaves one iteration no search at all: it stops for good where
            # the first length does not fit.
            max_eval=1 + self.iterations * EVALUATIONS,
            history_size=self.history,
            line_search_fn="strong_wolfe",
        )
