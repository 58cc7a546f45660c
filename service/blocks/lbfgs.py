"""L-BFGS: curvature from the last steps, and a search along each direction."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from service.blocks.optimizers import Optimizer, Parameters, groups_of

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
        return ScaledLbfgs(
            parameters,
            lr=self.learning_rate,
            max_iter=self.iterations,
            # torch's default, 5/4 of the iterations, leaves one iteration no search at all: it stops for good where
            # the first length does not fit.
            max_eval=1 + self.iterations * EVALUATIONS,
            history_size=self.history,
            line_search_fn="strong_wolfe",
        )


class ScaledLbfgs(torch.optim.LBFGS):
    """torch's L-BFGS where weights may have a factor on their rate, and may be frozen at first.

    With a factor f it searches over u = w / sqrt(f): a step along the gradient of u is f times one along that of w.
    Curvature that was seen while other weights learned is forgotten: it says nothing of the new ones.
    """

    def __init__(self, parameters: Parameters, **options: Any) -> None:
        groups = groups_of(parameters)
        super().__init__([p for group in groups for p in group["params"]], **options)
        self._scales = [group.get("factor", 1.0) ** 0.5 for group in groups for _ in group["params"]]

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]  # torch's has a type that fits no closure
        """Take one step of training; `closure` leaves gradients behind and returns the loss."""
        state, learning = self.state[self._params[0]], sum(p.requires_grad for p in self._params)
        if state.get("learning", learning) != learning:
            state.clear()
        state["learning"] = learning
        loss = super().step(closure)  # type: ignore[no-untyped-call]  # torch gives it no types
        state.pop("al", None)  # room that the next step makes anew; partly None, which no checkpoint could hold
        return loss

    def _gather_flat_grad(self) -> Tensor:
        flat: Tensor = super()._gather_flat_grad()  # type: ignore[no-untyped-call]  # torch gives it no types
        for part, scale in zip(self._parts(flat), self._scales, strict=True):
            if scale != 1.0:
                part.mul_(scale)
        return flat

    def _add_grad(self, step_size: float, direction: Tensor) -> None:
        for weight, part, scale in zip(self._params, self._parts(direction), self._scales, strict=True):
            # Not even a zero is added to what is frozen: -0.0 + 0.0 has other bits.
            if weight.requires_grad:
                weight.add_(part.view_as(weight), alpha=step_size * scale)

    def _parts(self, flat: Tensor) -> Sequence[Tensor]:
        return torch.split(flat, [p.numel() for p in self._params])
