"""Fully connected layers."""

from typing import Literal

from torch import nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, ShapeError, WeightedLayer
from service.blocks.values import Units


class Dense(WeightedLayer):
    """Fully connected: y = activation(W x + b), on the last axis.

    Shape: [..., features] to [..., units].
    """

    type: Literal["dense"] = "dense"
    units: Units
    """Outputs; "auto" on the last layer: as many as the loss and the data call for."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if not shape:
            raise ShapeError("at least one axis of features")
        units = self.units_of(self.units, context)
        context.afford(units, shape[-1])
        return self.activated(nn.Linear(shape[-1], units, bias=self.use_bias), context)
