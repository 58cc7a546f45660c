"""Activation functions."""

from typing import Annotated, ClassVar, Literal

from torch import Tensor, nn

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

    narrows: ClassVar[bool] = False
    """True when fewer channels come out than go in."""

    def build(self) -> nn.Module:
        """Return the module; input and output have the same shape, but for the channels of one that `narrows`."""
        raise NotImplementedError


class Linear(Activation):
    """No activation: f(x) = x."""

    type: Literal["linear"] = "linear"

    def build(self) -> nn.Module:
        return nn.Identity()


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


class Step(Activation):
    """The perceptron's threshold: f(x) = 1 for x >= 0, else 0. Its gradient is zero, so what is in front never learns.

    Reference: Rosenblatt 1958, "The Perceptron".
    """

    type: Literal["step"] = "step"

    def build(self) -> nn.Module:
        return Threshold()


class HardSigmoid(Activation):
    """The sigmoid in three straight pieces: f(x) = min(max(x / 6 + 1 / 2, 0), 1)."""

    type: Literal["hard_sigmoid"] = "hard_sigmoid"
    saturates = True
    probabilities = True

    def build(self) -> nn.Module:
        return nn.Hardsigmoid()


class Softsign(Activation):
    """f(x) = x / (1 + |x|); saturates more gently than tanh.

    Reference: Glorot and Bengio 2010, section 3.3.
    """

    type: Literal["softsign"] = "softsign"
    saturates = True

    def build(self) -> nn.Module:
        return nn.Softsign()


class Threshold(nn.Module):
    """One from zero on, zero below."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the thresholds of `x`; zero times `x` keeps the gradient defined, and zero."""
        return (x >= 0).to(x.dtype) + 0.0 * x


AnyActivation = Annotated[Activation, OneOf()]
