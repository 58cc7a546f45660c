"""Layers without weights that rearrange or transform."""

from typing import Literal

from torch import nn

from service.blocks.activations import AnyActivation
from service.blocks.base import Shape
from service.blocks.layers import BuildContext, Layer


class Flatten(Layer):
    """Put all values of a row into one axis.

    Shape: [a, b, ...] to [a * b * ...].
    """

    type: Literal["flatten"] = "flatten"
    transparent = True

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        return nn.Flatten()


class ActivationLayer(Layer):
    """An activation as a layer of its own, e.g. behind a normalisation.

    Shape: any stays.
    """

    type: Literal["activation"] = "activation"
    activation: AnyActivation
    """The activation."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        return self.activation.build()
