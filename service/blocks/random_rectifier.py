"""The rectifier whose slope is drawn."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from service.blocks.activations import Activation
from service.blocks.noise import StochasticModule

Slope = Annotated[float, Field(ge=0, le=10)]


class RandomSlope(StochasticModule):
    """Draw the slope of every negative value when there is noise, take the middle of the range when there is none."""

    def __init__(self, lower: float, upper: float) -> None:
        super().__init__()
        self.lower, self.upper = lower, upper

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated values, of the shape of `x`."""
        if self.noise is None:
            return functional.leaky_relu(x, (self.lower + self.upper) / 2)
        drawn = self.noise.uniforms(self.key, tuple(x.shape)).to(x.dtype)
        return x.clamp_min(0) + (self.lower + (self.upper - self.lower) * drawn) * x.clamp_max(0)


class Rrelu(Activation):
    """Randomised leaky rectified linear unit: f(x) = x for x > 0, a * x otherwise, a uniform in [lower, upper].

    Every value draws its own slope, in training and in Monte-Carlo prediction; plain predictions take the middle.

    Reference: Xu et al. 2015, "Empirical Evaluation of Rectified Activations in Convolutional Network", section 2.4.
    """

    type: Literal["rrelu"] = "rrelu"
    initializer = "he_normal"
    lower: Slope = 0.125
    """Least slope."""
    upper: Slope = 1.0 / 3.0
    """Largest slope."""

    @model_validator(mode="after")
    def _check_order(self) -> "Rrelu":
        if self.lower > self.upper:
            raise ValueError("lower must not be above upper")
        return self

    def build(self) -> nn.Module:
        return RandomSlope(self.lower, self.upper)
