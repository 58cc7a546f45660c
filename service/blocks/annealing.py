"""Simulated annealing: noise on the step that dies away."""

import math
from typing import Annotated, Literal

from pydantic import Field

from service.blocks.schedules import Horizon, Schedule


class SimulatedAnnealing(Schedule):
    """Add Gaussian noise of variance 2 * rate * T to weights at every step, while T cools: T = T0 * cooling ** epochs.

    The rate itself stays. Noise lets the weights climb out of shallow minima while it is warm; when it is cold, plain
    descent is left. The noise of a step follows from the seed and the step alone.

    Reference: Kirkpatrick, Gelatt and Vecchi 1983, "Optimization by Simulated Annealing", for the cooling; Gelfand and
    Mitter 1991, "Recursive Stochastic Algorithms for Global Optimization in R^d", eq. 1.2, for the noise on the step.
    """

    type: Literal["simulated_annealing"] = "simulated_annealing"
    temperature: Annotated[float, Field(gt=0, le=1e6)] = 0.0001
    """Temperature at the start; weights at rest spread by about its root over the curvature of the loss."""
    cooling: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Factor on the temperature over every epoch."""

    def curve(self, step: int, horizon: Horizon) -> float:
        return 1.0

    def noise(self, step: int, horizon: Horizon, rate: float) -> float:
        cold = self.cooling ** (step / horizon.steps_per_epoch)
        return math.sqrt(2.0 * rate * self.temperature * cold)
