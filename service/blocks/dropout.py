"""Dropout: what regularises in training and tells how sure the network is in prediction."""

import math
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, Layer, ShapeError
from service.blocks.noise import StochasticModule, keep_scale
from service.blocks.values import Rate

SELU_LIMIT = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717
"""What SELU gives for very negative inputs: -scale * alpha."""


class DropoutModule(StochasticModule):
    """Multiply by a mask when there is noise, pass through when there is none."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with values dropped, scaled so that the mean stays."""
        if self.noise is None or not self.rate:
            return x
        return self.noise.thinned(x, self.key, self.rate)


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


class SpatialDropoutModule(DropoutModule):
    """Multiply whole channels by a mask when there is noise."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` [batch, channels, ...] with channels dropped, scaled so that the mean stays."""
        if self.noise is None or not self.rate:
            return x
        mask = self.noise.mask(self.key, (x.shape[0], x.shape[1]), self.rate).to(x.dtype)
        return x * mask.view(*mask.shape, *[1] * (x.ndim - 2))


class SpatialDropout(Layer):
    """Set whole channels to zero with probability `rate`: neighbours in a channel are too alike for plain dropout.

    Shape: [channels, ...] stays.

    Reference: Tompson et al. 2015, "Efficient Object Localization Using Convolutional Networks", section 3.2.
    """

    type: Literal["spatial_dropout"] = "spatial_dropout"
    stochastic = True
    transparent = True
    rate: Rate
    """Probability of dropping a channel."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if len(shape) < 2:
            raise ShapeError("(channels, ...) with at least one axis behind the channels")
        return SpatialDropoutModule(self.rate)


class AlphaDropoutModule(DropoutModule):
    """Set values to SELU's lower limit when there is noise, then restore mean and variance."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with values dropped to -1.758, of mean 0 and variance 1 where `x` had them."""
        if self.noise is None or not self.rate:
            return x
        mask = self.noise.mask(self.key, tuple(x.shape), self.rate)
        kept = (mask > 0).to(x.dtype)
        rate = 1.0 - 1.0 / keep_scale(self.rate)
        scale = 1.0 / math.sqrt((1.0 - rate) * (1.0 + rate * SELU_LIMIT**2))
        return scale * (x * kept + SELU_LIMIT * (1.0 - kept)) - scale * rate * SELU_LIMIT


class AlphaDropout(Layer):
    """Dropout for SELU: dropped values become SELU's lower limit, and mean and variance stay.

    Shape: any stays.

    Reference: Klambauer et al. 2017, "Self-Normalizing Neural Networks", eq. 11 and 12.
    """

    type: Literal["alpha_dropout"] = "alpha_dropout"
    stochastic = True
    transparent = True
    rate: Rate
    """Probability of dropping a value."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        return AlphaDropoutModule(self.rate)


class GaussianNoiseModule(StochasticModule):
    """Add Gaussian noise when there is noise."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` plus noise."""
        if self.noise is None:
            return x
        return x + self.std * self.noise.normals(self.key, tuple(x.shape)).to(x.dtype)


class GaussianNoise(Layer):
    """Add Gaussian noise of standard deviation `std` to every value, in training and in Monte-Carlo prediction.

    Shape: any stays.

    Reference: Bishop 1995, "Training with Noise is Equivalent to Tikhonov Regularization".
    """

    type: Literal["gaussian_noise"] = "gaussian_noise"
    stochastic = True
    transparent = True
    std: Annotated[float, Field(gt=0, le=1000)]
    """Standard deviation."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        return GaussianNoiseModule(self.std)
