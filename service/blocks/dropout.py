"""Dropout: what regularises in training and tells how sure the network is in prediction."""

from typing import Literal

from torch import Tensor, nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, Layer
from service.blocks.noise import StochasticModule, keep_mask
from service.blocks.values import Rate


class DropoutModule(StochasticModule):
    """Multiply by a mask when there is noise, pass through when there is none."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with values dropped, scaled so that the mean stays."""
        if self.noise is None or not self.rate:
            return x
        return x * keep_mask(self.noise.bits(self.key, tuple(x.shape)), self.rate).to(x.dtype)


class Dropout(Layer):
    """Set each value to zero with probability `rate` and scale the rest by 1 / (1 - rate).

    Active in training and in Monte-Carlo prediction. Shape: any stays. The rate is rounded to 1/65536.

    Reference: Srivastava et al. 2014, "Dropout"; Gal and Ghahramani 2016, "Dropout as a Bayesian Approximation".
    """

    type: Literal["dropout"] = "dropout"
    stochastic = True
    transparent = True
    rate: Rate
    """Probability of dropping a value."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        return DropoutModule(self.rate)
