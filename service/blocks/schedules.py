"""Learning-rate schedules: pure functions of the step, so that a resumed run follows the same curve."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from service.blocks.base import Block, OneOf


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

    def curve(self, step: float, horizon: Horizon) -> float:
        """Return the factor on the learning rate `step` steps after the warm-up, with the horizon less the warm-up."""
        raise NotImplementedError

    def factor(self, step: int, horizon: Horizon) -> float:
        """Return the factor on the learning rate for step `step` (the first is 0)."""
        warmup = round(self.warmup_epochs * horizon.steps_per_epoch)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        rest = Horizon(horizon.steps_per_epoch, max(1, horizon.total_steps - warmup))
        return self.curve(step - warmup, rest)


AnySchedule = Annotated[Schedule, OneOf()]
