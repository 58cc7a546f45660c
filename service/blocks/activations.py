"""Activation functions."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from service.blocks.base import Block, OneOf


class Activation(Block):
    """A function applied to every element."""

    family = "activation"
    initializer: ClassVar[str] = "glorot_uniform"
    """The initializer that keeps the variance of signals through layers with this activation."""
    saturates: ClassVar[bool] = False
    """True when the gradient vanishes for large inputs on both sides, so that deep stacks learn slowly."""
    probabilities: ClassVar[bool] = False
    """True when the outputs are probabilities, which no loss of ours takes (they take logits)."""

    def build(self) -> nn.Module:
        """Return the module; input and output have the same shape."""
        raise NotImplementedError


class Linear(Activation):
    """No activation: f(x) = x."""

    type: Literal["linear"] = "linear"

    def build(self) -> nn.Module:
        return nn.Identity()


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


class Sigmoid(Activation):
    """Logistic function: f(x) = 1 / (1 + exp(-x))."""

    type: Literal["sigmoid"] = "sigmoid"
    saturates = True
    probabilities = True

    def build(self) -> nn.Module:
        return nn.Sigmoid()


class Tanh(Activation):
    """Hyperbolic tangent."""

    type: Literal["tanh"] = "tanh"
    saturates = True

    def build(self) -> nn.Module:
        return nn.Tanh()


class Softmax(Activation):
    """Softmax over the channels (the first axis after the batch): exp(x_i) / sum_j exp(x_j)."""

    type: Literal["softmax"] = "softmax"
    probabilities = True

    def build(self) -> nn.Module:
        return nn.Softmax(dim=1)


AnyActivation = Annotated[Activation, OneOf()]
