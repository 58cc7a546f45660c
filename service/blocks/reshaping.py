"""Layers without weights that rearrange or transform."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from service.blocks.activations import AnyActivation
from service.blocks.base import Shape
from service.blocks.layers import BuildContext, Layer, ShapeError, TrainableLayer
from service.blocks.windows import Padded


class Flatten(Layer):
    """Put all values of a row into one axis.

    Shape: [a, b, ...] to [a * b * ...].
    """

    type: Literal["flatten"] = "flatten"
    transparent = True

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        return nn.Flatten()


class ActivationLayer(TrainableLayer):
    """An activation as a layer of its own, e.g. behind a normalisation.

    Shape: any stays.
    """

    type: Literal["activation"] = "activation"
    activation: AnyActivation
    """The activation."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        return self.activation.build()


class Reshape(Layer):
    """Give the values of a row another shape.

    Shape: [...] to `shape`, of as many values.
    """

    type: Literal["reshape"] = "reshape"
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=5, examples=[[2, 3]])]
    """The new shape, without the batch."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if math.prod(shape) != math.prod(self.shape):
            raise ShapeError(f"{math.prod(self.shape)} values a row, as many as {self.shape} holds")
        return nn.Sequential(nn.Flatten(), nn.Unflatten(1, tuple(self.shape)))


class Permute(Layer):
    """Put the axes in another order, e.g. [1, 0] from (length, features) to (channels, length).

    Shape: [a, b, ...] to its axes in the order of `axes`.
    """

    type: Literal["permute"] = "permute"
    axes: Annotated[list[Annotated[int, Field(ge=0, le=9)]], Field(min_length=1, examples=[[1, 0]])]
    """Number of the axis, from 0 without the batch, that comes to each place."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if sorted(self.axes) != list(range(len(shape))):
            raise ShapeError(f"{len(self.axes)} axes, each of which `axes` names once")
        return Permuted(self.axes)


class Permuted(nn.Module):
    """The axes behind the batch in another order."""

    def __init__(self, axes: Sequence[int]) -> None:
        super().__init__()
        self.order = [0, *(axis + 1 for axis in axes)]

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with its axes permuted."""
        return x.permute(self.order).contiguous()


class ZeroPad(Layer):
    """Add zeros around every axis behind the channels.

    Shape: [channels, a, ...] to [channels, a + 2 * size, ...].
    """

    type: Literal["zero_pad"] = "zero_pad"
    size: Annotated[int, Field(ge=1, le=1000)] = 1
    """Zeros on each side."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if not 2 <= len(shape) <= 4:
            raise ShapeError("(channels, ...) with one to three axes behind the channels")
        return Padded(nn.Identity(), [(self.size, self.size)] * (len(shape) - 1))


class Upsample(Layer):
    """Make every axis behind the channels `factor` times as long.

    Shape: [channels, a, ...] to [channels, a * factor, ...].
    """

    type: Literal["upsample"] = "upsample"
    factor: Annotated[int, Field(ge=2, le=64)] = 2
    """How many times as long."""
    mode: Literal["nearest", "linear"] = "nearest"
    """Repeat values, or draw straight lines between them."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if not 2 <= len(shape) <= 4:
            raise ShapeError("(channels, ...) with one to three axes behind the channels")
        lines = ("linear", "bilinear", "trilinear")[len(shape) - 2]
        return nn.Upsample(scale_factor=self.factor, mode="nearest" if self.mode == "nearest" else lines)
