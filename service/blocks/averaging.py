"""Averages of the weights along the way: what is measured and kept in the place of the last weights."""

from typing import Annotated, Literal

from pydantic import Field

from service.blocks.base import Block, OneOf
from service.blocks.schedules import Horizon


class Averaging(Block):
    """A running average of weights, and of the statistics of normalisations, that validation and the model take."""

    family = "averaging"

    def takes(self, steps: int, horizon: Horizon) -> bool:
        """Tell whether the weights are taken in after so many steps."""
        raise NotImplementedError

    def share(self, count: int) -> float:
        """Return the share of the newest of `count` weights in their average; 1 for the first."""
        raise NotImplementedError


class Ema(Averaging):
    """Exponential moving average: a = decay * a + (1 - decay) * w after every step, without the bias of its start.

    Reference: Polyak and Juditsky 1992; Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", section 7.2.
    """

    type: Literal["ema"] = "ema"
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Share of the average kept from step to step."""

    def takes(self, steps: int, horizon: Horizon) -> bool:
        return True

    def share(self, count: int) -> float:
        return (1.0 - self.decay) / (1.0 - self.decay**count)


class Swa(Averaging):
    """Stochastic weight averaging: the plain mean of the weights at the ends of the last epochs.

    Until the first are taken in, the weights themselves count.

    Reference: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization", algorithm 1.
    """

    type: Literal["swa"] = "swa"
    start: Annotated[float, Field(ge=0, lt=1)] = 0.75
    """Share of training that is over before the first weights are taken in."""
    every_epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Epochs between two weights of the average."""

    def takes(self, steps: int, horizon: Horizon) -> bool:
        return steps % (self.every_epochs * horizon.steps_per_epoch) == 0 and steps > self.start * horizon.total_steps

    def share(self, count: int) -> float:
        return 1.0 / count


AnyAveraging = Annotated[Averaging, OneOf()]
