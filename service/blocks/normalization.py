"""Normalisation layers."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, ShapeError, TrainableLayer

BATCH_NORMS: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}


class Normalization(TrainableLayer):
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
    """Each row to mean 0 and variance 1 over its values, then scaled and shifted by learned numbers.

    Shape: any stays.

    Reference: Ba, Kiros and Hinton 2016, "Layer Normalization", eq. 3.
    """

    type: Literal["layer_norm"] = "layer_norm"
    axes: Literal["all", "last"] = "all"
    """What is normalised together: all values of a row, or its last axis, e.g. the features of each place."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if not shape:
            raise ShapeError("at least one axis of features")
        return nn.LayerNorm(shape if self.axes == "all" else shape[-1:], eps=self.epsilon)


class InstanceNorm(Normalization):
    """Each channel of each row to mean 0 and variance 1 over its places, then scaled and shifted by learned numbers.

    Shape: [channels, ...] with at least one axis behind the channels stays.

    Reference: Ulyanov, Vedaldi and Lempitsky 2016, "Instance Normalization".
    """

    type: Literal["instance_norm"] = "instance_norm"

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if len(shape) < 2 or math.prod(shape[1:]) < 2:
            raise ShapeError("(channels, ...) with at least two places behind the channels")
        return nn.GroupNorm(shape[0], shape[0], eps=self.epsilon)


class GroupNorm(Normalization):
    """Each group of channels of each row to mean 0 and variance 1, then scaled and shifted by learned numbers.

    Shape: [channels, ...] stays.

    Reference: Wu and He 2018, "Group Normalization".
    """

    type: Literal["group_norm"] = "group_norm"
    groups: Annotated[int, Field(ge=1)] = 1
    """How many groups the channels are divided into."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if not shape or shape[0] % self.groups or math.prod(shape) == self.groups:
            raise ShapeError(f"channels that {self.groups} groups divide, with more than one value a group")
        return nn.GroupNorm(self.groups, shape[0], eps=self.epsilon)
