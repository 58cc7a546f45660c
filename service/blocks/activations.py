"""Activation functions."""

from typing import Annotated, ClassVar, Literal

from torch import nn

from service.blocks.base import Block, OneOf


class Activation(Block):
    """A function applied to every element."""

    family = "activation"
    initializer: ClassVar[str] = "glorot_uniform"
    """The initializer that keeps the variance of signals through layers with this activation."""
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


AnyActivation = Annotated[Activation, OneOf()]
