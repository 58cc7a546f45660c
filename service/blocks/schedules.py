"""Learning-rate schedules: pure functions of the step, so that a resumed run follows the same curve."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from service.blocks.base import Block, OneOf

Epochs = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Horizon:
    """How long training is planned to be."""

    steps_per_epoch: int
    total_steps: int


class Schedule(Block):
    """How the learning rate changes while training goes on."""

    family = "schedule"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs over which the rate first rises linearly from near zero."""

    def curve(self, step: int, horizon: Horizon) -> float:
        """Return the factor on the learning rate `step` steps after the warm-up, with the horizon less the warm-up."""
        raise NotImplementedError

    def factor(self, step: int, horizon: Horizon) -> float:
        """Return the factor on the learning rate for step `step` (the first is 0)."""
        warmup = round(self.warmup_epochs * horizon.steps_per_epoch)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return self.curve(step - warmup, Horizon(horizon.steps_per_epoch, max(1, horizon.total_steps - warmup)))


class ConstantSchedule(Schedule):
    """The same rate throughout."""

    type: Literal["constant"] = "constant"

    def curve(self, step: int, horizon: Horizon) -> float:
        return 1.0


class StepSchedule(Schedule):
    """Multiply the rate by `gamma` every `every_epochs` epochs."""

    type: Literal["step"] = "step"
    every_epochs: Epochs = 10.0
    """Epochs between drops."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Factor of each drop."""

    def curve(self, step: int, horizon: Horizon) -> float:
        # Whole steps first: 0.1 epochs of 10 steps is 1 step, whatever 0.1 * 10 comes to in floats.
        return self.gamma ** (step // max(1, round(self.every_epochs * horizon.steps_per_epoch)))


class ExponentialSchedule(Schedule):
    """Multiply the rate by `gamma` over every epoch, smoothly: gamma ** epochs."""

    type: Literal["exponential"] = "exponential"
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Factor of one epoch."""

    def curve(self, step: int, horizon: Horizon) -> float:
        return float(self.gamma ** (step / horizon.steps_per_epoch))


class CosineSchedule(Schedule):
    """Half a cosine from the full rate down to `min_factor` times it at the end of training.

    Reference: Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", eq. 5.
    """

    type: Literal["cosine"] = "cosine"
    min_factor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the rate that is left at the end."""

    def curve(self, step: int, horizon: Horizon) -> float:
        progress = min(1.0, step / horizon.total_steps)
        return self.min_factor + (1.0 - self.min_factor) * 0.5 * (1.0 + math.cos(math.pi * progress))


AnySchedule = Annotated[Schedule, OneOf()]
