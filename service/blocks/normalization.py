"""Normalisation layers."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, Layer, ShapeError

BATCH_NORMS: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}


class Normalization(Layer):
    """Base of the layers that subtract a mean and divide by a deviation."""

    normalizes: ClassVar[bool] = True
    transparent: ClassVar[bool] = True
    epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-5
    """Added to the variance, against division by zero."""


class BatchNorm(Normalization):
    """Each channel to mean 0 and variance 1 over the batch, then scaled and shifted by learned numbers.

    In prediction the moving statistics of training are used. Shape: [channels, ...] stays.

    Reference: Ioffe and Szegedy 2015, "Batch Normalization", algorithm 1.
    """

    type: Literal["batch_norm"] = "batch_norm"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Share of the moving statistics kept: moving = momentum * moving + (1 - momentum) * batch."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if len(shape) not in BATCH_NORMS:
            raise ShapeError("(channels) and up to three axes behind the channels")
        # torch counts the other way round: its momentum is the share of the batch.
        return BATCH_NORMS[len(shape)](shape[0], eps=self.epsilon, momentum=1.0 - self.momentum)


class LayerNorm(Normalization):
    """Each row to mean 0 and variance 1 over all its values, then scaled and shifted by learned numbers.

    Shape: any stays.

    Reference: Ba, Kiros and Hinton 2016, "Layer Normalization", eq. 3.
    """

    type: Literal["layer_norm"] = "layer_norm"

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if not shape:
            raise ShapeError("at least one axis of features")
        return nn.LayerNorm(shape, eps=self.epsilon)
