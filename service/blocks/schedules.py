"""Learning-rate schedules: pure functions of the step, so that a resumed run follows the same curve."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from service.blocks.base import Block, OneOf

MOST_EPOCHS = 1_000_000
Epochs = Annotated[float, Field(gt=0, le=MOST_EPOCHS)]


@dataclass(frozen=True)
class Horizon:
    """How long training is planned to be."""

    steps_per_epoch: int
    total_steps: int


class Schedule(Block):
    """How the learning rate changes while training goes on."""

    family = "schedule"
    warmup_epochs: Annotated[float, Field(ge=0, le=MOST_EPOCHS)] = 0.0
    """Epochs over which the rate first rises linearly from near zero."""

    def curve(self, step: int, horizon: Horizon) -> float:
        """Return the factor on the learning rate `step` steps after the warm-up, with the horizon less the warm-up."""
        raise NotImplementedError

    def noise(self, step: int, horizon: Horizon, rate: float) -> float:
        """Return the standard deviation of what is added to every weight after step `step`, taken with `rate`."""
        return 0.0

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


class MultiStepSchedule(Schedule):
    """Multiply the rate by `gamma` at each of the epochs named."""

    type: Literal["multi_step"] = "multi_step"
    at_epochs: Annotated[list[Epochs], Field(min_length=1, max_length=1000, examples=[[30, 60, 90]])]
    """Epochs after which the rate drops."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Factor of each drop."""

    def curve(self, step: int, horizon: Horizon) -> float:
        return float(self.gamma ** sum(step >= round(at * horizon.steps_per_epoch) for at in self.at_epochs))


class InverseTimeSchedule(Schedule):
    """Divide the rate by 1 + `decay` * epochs: the rate of Robbins and Monro.

    Reference: Robbins and Monro 1951, "A Stochastic Approximation Method".
    """

    type: Literal["inverse_time"] = "inverse_time"
    decay: Annotated[float, Field(gt=0, le=1e6)] = 0.1
    """What an epoch adds to the divisor."""

    def curve(self, step: int, horizon: Horizon) -> float:
        return 1.0 / (1.0 + self.decay * step / horizon.steps_per_epoch)


class PolynomialSchedule(Schedule):
    """Fall from the full rate to `min_factor` times it at the end of training: (1 - progress) ** power."""

    type: Literal["polynomial"] = "polynomial"
    power: Annotated[float, Field(gt=0, le=20)] = 1.0
    """Exponent; 1 is a straight line."""
    min_factor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the rate that is left at the end."""

    def curve(self, step: int, horizon: Horizon) -> float:
        left = 1.0 - min(1.0, step / horizon.total_steps)
        return self.min_factor + (1.0 - self.min_factor) * float(left**self.power)


class CosineRestartsSchedule(Schedule):
    """Half a cosine down, again and again, each `stretch` times as long as the one before.

    Reference: Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", eq. 5.
    """

    type: Literal["cosine_restarts"] = "cosine_restarts"
    first_epochs: Epochs = 10.0
    """Length of the first cosine, in epochs."""
    stretch: Annotated[float, Field(ge=1, le=10)] = 2.0
    """How many times as long the next one is."""
    min_factor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the rate that is left before a restart."""

    def curve(self, step: int, horizon: Horizon) -> float:
        length = max(1.0, self.first_epochs * horizon.steps_per_epoch)
        cycle = math.floor(step / length)
        start = cycle * length
        if self.stretch > 1.0:
            # The lengths are a geometric series: n cycles are over after length * (stretch^n - 1) / (stretch - 1).
            cycle = math.floor(math.log(step / length * (self.stretch - 1.0) + 1.0, self.stretch) + 1e-9)
            start = length * (self.stretch**cycle - 1.0) / (self.stretch - 1.0)
        progress = min(1.0, max(0.0, step - start) / (length * self.stretch**cycle if self.stretch > 1.0 else length))
        return self.min_factor + (1.0 - self.min_factor) * 0.5 * (1.0 + math.cos(math.pi * progress))


class OneCycleSchedule(Schedule):
    """Rise along a cosine from a fraction of the rate to all of it, then fall along one to almost nothing.

    Reference: Smith and Topin 2018, "Super-Convergence: Very Fast Training Using Large Learning Rates".
    """

    type: Literal["one_cycle"] = "one_cycle"
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of training in which the rate rises."""
    start_factor: Annotated[float, Field(gt=0, le=1)] = 0.04
    """Share of the rate at the start."""
    min_factor: Annotated[float, Field(ge=0, le=1)] = 0.000004
    """Share of the rate at the end."""

    def curve(self, step: int, horizon: Horizon) -> float:
        progress = min(1.0, step / horizon.total_steps)
        rising = progress < self.rise
        start, end = (self.start_factor, 1.0) if rising else (1.0, self.min_factor)
        along = progress / self.rise if rising else (progress - self.rise) / (1.0 - self.rise)
        return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * along))


AnySchedule = Annotated[Schedule, OneOf()]
