"""Pooling: the largest or the mean of each window, or of everything."""

import math
from typing import ClassVar, Literal, Self

from pydantic import model_validator
from torch import Tensor, nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, Layer, ShapeError, need_rank
from service.blocks.values import Padding1, Padding2, Padding3, Size1, Size2, Size3
from service.blocks.windows import Padded, PaddedMean, pads_of


class Pooling(Layer):
    """Base of the pooling layers with a window."""

    transparent: ClassVar[bool] = True
    module: ClassVar[type[nn.Module]]
    layout: ClassVar[str]
    padded: ClassVar[type[Padded]] = Padded
    filler: ClassVar[float] = 0.0
    """What padding puts around."""

    pool_size: tuple[int, ...]
    """Size of the window along each axis."""
    stride: tuple[int, ...] | None
    """Step of the window along each axis."""
    padding: tuple[int, ...] | str
    """What is added around."""

    @model_validator(mode="after")
    def _every_window_sees_something(self) -> Self:
        if not isinstance(self.padding, str):
            for pool, pad in zip(self.pool_size, self.padding, strict=True):
                if pad > pool // 2:
                    raise ValueError("padding must be at most half of pool_size")
        return self

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        need_rank(shape, len(self.pool_size) + 1, self.layout)
        stride = self.stride or self.pool_size
        pads = pads_of(self.padding, shape[1:], self.pool_size, stride)
        window = self.module(self.pool_size, stride=stride)
        return self.padded(window, pads, self.filler) if any(map(any, pads)) else window


class Pooling1d(Pooling):
    """Base of pooling over one axis."""

    layout = "(channels, length)"
    pool_size: Size1 = (2,)
    """Length of the window."""
    stride: Size1 | None = None
    """Step of the window; default: its length."""
    padding: Padding1 = "valid"
    """Places around: "valid" none, "same" as many as keep ceil(length / stride), or a number on each side."""


class Pooling2d(Pooling):
    """Base of pooling over two axes."""

    layout = "(channels, height, width)"
    pool_size: Size2 = (2, 2)
    """Height and width of the window; one number for both."""
    stride: Size2 | None = None
    """Step of the window along each axis; default: its size."""
    padding: Padding2 = "valid"
    """Places around: "valid" none, "same" as many as keep ceil(size / stride), or a number on each side."""


class Pooling3d(Pooling):
    """Base of pooling over three axes."""

    layout = "(channels, depth, height, width)"
    pool_size: Size3 = (2, 2, 2)
    """Depth, height and width of the window; one number for all."""
    stride: Size3 | None = None
    """Step of the window along each axis; default: its size."""
    padding: Padding3 = "valid"
    """Places around: "valid" none, "same" as many as keep ceil(size / stride), or a number on each side."""


class MaxPool1d(Pooling1d):
    """Largest value of each window; padding never is the largest.

    Shape: [channels, length] to [channels, (length + 2 padding - pool) / stride + 1], rounded down.
    """

    type: Literal["max_pool1d"] = "max_pool1d"
    module = nn.MaxPool1d
    filler = -math.inf


class MaxPool2d(Pooling2d):
    """Largest value of each window; padding never is the largest.

    Shape: [channels, height, width] to [channels, height', width'], each as in `max_pool1d`.
    """

    type: Literal["max_pool2d"] = "max_pool2d"
    module = nn.MaxPool2d
    filler = -math.inf


class AveragePool1d(Pooling1d):
    """Mean of each window; padding does not count.

    Shape: [channels, length] to [channels, (length + 2 padding - pool) / stride + 1], rounded down.
    """

    type: Literal["average_pool1d"] = "average_pool1d"
    module = nn.AvgPool1d
    padded = PaddedMean


class AveragePool2d(Pooling2d):
    """Mean of each window; padding does not count.

    Shape: [channels, height, width] to [channels, height', width'], each as in `average_pool1d`.
    """

    type: Literal["average_pool2d"] = "average_pool2d"
    module = nn.AvgPool2d
    padded = PaddedMean


class MaxPool3d(Pooling3d):
    """Largest value of each window; padding never is the largest.

    Shape: [channels, depth, height, width] to [channels, depth', height', width'], each as in `max_pool1d`.
    """

    type: Literal["max_pool3d"] = "max_pool3d"
    module = nn.MaxPool3d
    filler = -math.inf


class AveragePool3d(Pooling3d):
    """Mean of each window; padding does not count.

    Shape: [channels, depth, height, width] to [channels, depth', height', width'], each as in `average_pool1d`.
    """

    type: Literal["average_pool3d"] = "average_pool3d"
    module = nn.AvgPool3d
    padded = PaddedMean


class GlobalMax(nn.Module):
    """Largest value of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, channels] of [batch, channels, ...]."""
        return x.flatten(2).amax(dim=2)


class GlobalAverage(nn.Module):
    """Mean of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, channels] of [batch, channels, ...]."""
        return x.flatten(2).mean(dim=2)


class GlobalPooling(Layer):
    """Base of pooling over everything behind the channels."""

    transparent: ClassVar[bool] = True
    pool: ClassVar[type[nn.Module]]

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if len(shape) < 2:
            raise ShapeError("(channels, ...) with at least one axis behind the channels")
        return self.pool()


class GlobalMaxPool(GlobalPooling):
    """Largest value of each channel.

    Shape: [channels, ...] to [channels].
    """

    type: Literal["global_max_pool"] = "global_max_pool"
    pool = GlobalMax


class GlobalAveragePool(GlobalPooling):
    """Mean of each channel.

    Shape: [channels, ...] to [channels].

    Reference: Lin, Chen and Yan 2014, "Network in Network", section 3.2.
    """

    type: Literal["global_average_pool"] = "global_average_pool"
    pool = GlobalAverage
