"""Initializers whose variance follows from how many inputs and outputs a weight connects."""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from service.blocks.initializers import Initializer


def fans(weight: Tensor) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight [out, in, *kernel]; of a vector, its length for both."""
    if weight.ndim < 2:
        return weight.numel(), weight.numel()
    receptive = math.prod(weight.shape[2:])
    return weight.shape[1] * receptive, weight.shape[0] * receptive


class VarianceScaled(Initializer):
    """Base of the initializers whose variance follows from the fans."""

    uniform: ClassVar[bool] = False
    """True for a uniform distribution, of limit sqrt(3 * variance); else a Gaussian, not truncated."""

    def variance(self, fan_in: int, fan_out: int) -> float:
        """Return the variance the weights start with."""
        raise NotImplementedError

    def fill(self, weight: Tensor, generator: torch.Generator) -> None:
        draw(weight, self.variance(*fans(weight)), self.uniform, generator)


def draw(weight: Tensor, variance: float, uniform: bool, generator: torch.Generator) -> None:
    """Fill `weight` from a distribution of mean 0 and this variance; a uniform one ends at sqrt(3 * variance)."""
    if uniform:
        limit = math.sqrt(3.0 * variance)
        weight.uniform_(-limit, limit, generator=generator)
    else:
        weight.normal_(0.0, math.sqrt(variance), generator=generator)


class _Glorot(VarianceScaled):
    """Variance 2 / (fan_in + fan_out)."""

    def variance(self, fan_in: int, fan_out: int) -> float:
        return 2.0 / (fan_in + fan_out)


class _He(VarianceScaled):
    """Variance 2 / fan_in."""

    def variance(self, fan_in: int, fan_out: int) -> float:
        return 2.0 / fan_in


class _LeCun(VarianceScaled):
    """Variance 1 / fan_in."""

    def variance(self, fan_in: int, fan_out: int) -> float:
        return 1.0 / fan_in


class GlorotNormal(_Glorot):
    """Gaussian of variance 2 / (fan_in + fan_out); suits tanh and sigmoid.

    Reference: Glorot and Bengio 2010, "Understanding the Difficulty of Training Deep Feedforward Networks", eq. 12.
    """

    type: Literal["glorot_normal"] = "glorot_normal"


class GlorotUniform(_Glorot):
    """Uniform of variance 2 / (fan_in + fan_out); suits tanh and sigmoid.

    Reference: Glorot and Bengio 2010, "Understanding the Difficulty of Training Deep Feedforward Networks", eq. 16.
    """

    type: Literal["glorot_uniform"] = "glorot_uniform"
    uniform = True


class HeNormal(_He):
    """Gaussian of variance 2 / fan_in; suits ReLU and its kin.

    Reference: He et al. 2015, "Delving Deep into Rectifiers", eq. 10.
    """

    type: Literal["he_normal"] = "he_normal"


class HeUniform(_He):
    """Uniform of variance 2 / fan_in; suits ReLU and its kin.

    Reference: He et al. 2015, "Delving Deep into Rectifiers", eq. 10.
    """

    type: Literal["he_uniform"] = "he_uniform"
    uniform = True


class LecunNormal(_LeCun):
    """Gaussian of variance 1 / fan_in; suits SELU.

    Reference: LeCun et al. 1998, "Efficient BackProp", eq. 16; Klambauer et al. 2017.
    """

    type: Literal["lecun_normal"] = "lecun_normal"


class LecunUniform(_LeCun):
    """Uniform of variance 1 / fan_in; suits SELU.

    Reference: LeCun et al. 1998, "Efficient BackProp", eq. 16; Klambauer et al. 2017.
    """

    type: Literal["lecun_uniform"] = "lecun_uniform"
    uniform = True


class VarianceScaling(VarianceScaled):
    """Variance `scale` / n, n counted over the inputs, the outputs or their mean.

    Reference: Glorot and Bengio 2010; He et al. 2015: both are cases of it.
    """

    type: Literal["variance_scaling"] = "variance_scaling"
    scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """What is divided."""
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in"
    """What divides."""
    distribution: Literal["normal", "uniform"] = "normal"
    """What is drawn from."""

    def variance(self, fan_in: int, fan_out: int) -> float:
        return self.scale / {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]

    def fill(self, weight: Tensor, generator: torch.Generator) -> None:
        draw(weight, self.variance(*fans(weight)), self.distribution == "uniform", generator)
