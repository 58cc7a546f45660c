"""Activations that let positive inputs pass: the rectifier and its smooth, leaky and learned kin."""

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from service.blocks.activations import Activation


class Relu(Activation):
    """Rectified linear unit: f(x) = max(0, x).

    Reference: Nair and Hinton 2010, "Rectified Linear Units Improve Restricted Boltzmann Machines".
    """

    type: Literal["relu"] = "relu"
    initializer = "he_normal"

    def build(self) -> nn.Module:
        return nn.ReLU()


class LeakyRelu(Activation):
    """Leaky rectified linear unit: f(x) = x for x > 0, slope * x otherwise.

    Reference: Maas, Hannun and Ng 2013, "Rectifier Nonlinearities Improve Neural Network Acoustic Models".
    """

    type: Literal["leaky_relu"] = "leaky_relu"
    initializer = "he_normal"
    slope: Annotated[float, Field(ge=0, le=10)] = 0.01
    """Slope for negative inputs; 1 or more makes stacked layers linear or exploding."""

    def build(self) -> nn.Module:
        return nn.LeakyReLU(self.slope)


class Elu(Activation):
    """Exponential linear unit: f(x) = x for x > 0, alpha * (exp(x) - 1) otherwise.

    Reference: Clevert, Unterthiner and Hochreiter 2016, "Fast and Accurate Deep Network Learning by ELUs".
    """

    type: Literal["elu"] = "elu"
    initializer = "he_normal"
    alpha: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Minus the value that very negative inputs saturate to."""

    def build(self) -> nn.Module:
        return nn.ELU(self.alpha)


class Selu(Activation):
    """Scaled exponential linear unit; keeps mean 0 and variance 1 with LeCun initialisation and standardised input.

    Reference: Klambauer et al. 2017, "Self-Normalizing Neural Networks", eq. 2.
    """

    type: Literal["selu"] = "selu"
    initializer = "lecun_normal"

    def build(self) -> nn.Module:
        return nn.SELU()


class Gelu(Activation):
    """Gaussian error linear unit: f(x) = x * Phi(x).

    Reference: Hendrycks and Gimpel 2016, "Gaussian Error Linear Units".
    """

    type: Literal["gelu"] = "gelu"
    initializer = "he_normal"

    def build(self) -> nn.Module:
        return nn.GELU()


class Relu6(Activation):
    """Rectified linear unit that stops at six: f(x) = min(max(0, x), 6).

    Reference: Howard et al. 2017, "MobileNets".
    """

    type: Literal["relu6"] = "relu6"
    initializer = "he_normal"

    def build(self) -> nn.Module:
        return nn.ReLU6()


class Prelu(Activation):
    """Leaky rectified linear unit whose one slope for negative inputs is learned.

    Reference: He et al. 2015, "Delving Deep into Rectifiers", eq. 1.
    """

    type: Literal["prelu"] = "prelu"
    initializer = "he_normal"
    slope: Annotated[float, Field(ge=0, le=10)] = 0.25
    """Slope for negative inputs that training starts from."""

    def build(self) -> nn.Module:
        return nn.PReLU(init=self.slope)


class Celu(Activation):
    """Continuously differentiable exponential linear unit: f(x) = max(0, x) + min(0, alpha * (exp(x / alpha) - 1)).

    Reference: Barron 2017, "Continuously Differentiable Exponential Linear Units".
    """

    type: Literal["celu"] = "celu"
    initializer = "he_normal"
    alpha: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Minus the value that very negative inputs saturate to."""

    def build(self) -> nn.Module:
        return nn.CELU(self.alpha)


class Silu(Activation):
    """Sigmoid-weighted linear unit, also called swish: f(x) = x / (1 + exp(-x)).

    Reference: Elfwing, Uchibe and Doya 2018; Ramachandran, Zoph and Le 2017, "Searching for Activation Functions".
    """

    type: Literal["silu"] = "silu"
    initializer = "he_normal"

    def build(self) -> nn.Module:
        return nn.SiLU()


class Swish(Silu):
    """Another name of `silu`: f(x) = x / (1 + exp(-x)).

    Reference: Ramachandran, Zoph and Le 2017, "Searching for Activation Functions".
    """

    type: Literal["swish"] = "swish"  # type: ignore[assignment]  # another tag than that of its base


class Mish(Activation):
    """f(x) = x * tanh(log(1 + exp(x))).

    Reference: Misra 2019, "Mish: A Self Regularized Non-Monotonic Activation Function".
    """

    type: Literal["mish"] = "mish"
    initializer = "he_normal"

    def build(self) -> nn.Module:
        return nn.Mish()


class Softplus(Activation):
    """A smooth rectifier: f(x) = log(1 + exp(x)).

    Reference: Glorot, Bordes and Bengio 2011, "Deep Sparse Rectifier Neural Networks", section 3.
    """

    type: Literal["softplus"] = "softplus"
    initializer = "he_normal"

    def build(self) -> nn.Module:
        return nn.Softplus()
