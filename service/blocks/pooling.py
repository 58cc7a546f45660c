"""Pooling: the largest or the mean of each window, or of everything."""

from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, Layer, ShapeError, need_rank
from service.blocks.values import Size1, Size2


class Pooling(Layer):
    """Base of the pooling layers with a window: output size (size - pool) / stride + 1, rounded down."""

    module: ClassVar[type[nn.Module]]
    layout: ClassVar[str]

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        sizes: Any = self
        need_rank(shape, len(sizes.pool_size) + 1, self.layout)
        if any(size < pool for size, pool in zip(shape[1:], sizes.pool_size, strict=True)):
            raise ShapeError(f"at least {' x '.join(map(str, sizes.pool_size))} places behind the channels")
        return self.module(sizes.pool_size, stride=sizes.stride or sizes.pool_size)


class Pooling1d(Pooling):
    """Base of pooling over one axis."""

    layout = "(channels, length)"
    pool_size: Size1 = (2,)
    """Length of the window."""
    stride: Size1 | None = None
    """Step of the window; default: its length."""


class Pooling2d(Pooling):
    """Base of pooling over two axes."""

    layout = "(channels, height, width)"
    pool_size: Size2 = (2, 2)
    """Height and width of the window; one number for both."""
    stride: Size2 | None = None
    """Step of the window along each axis; default: its size."""


class MaxPool1d(Pooling1d):
    """Largest value of each window.

    Shape: [channels, length] to [channels, (length - pool) / stride + 1].
    """

    type: Literal["max_pool1d"] = "max_pool1d"
    module = nn.MaxPool1d


class MaxPool2d(Pooling2d):
    """Largest value of each window.

    Shape: [channels, height, width] to [channels, (height - pool) / stride + 1, (width - pool) / stride + 1].
    """

    type: Literal["max_pool2d"] = "max_pool2d"
    module = nn.MaxPool2d


class AveragePool1d(Pooling1d):
    """Mean of each window.

    Shape: [channels, length] to [channels, (length - pool) / stride + 1].
    """

    type: Literal["average_pool1d"] = "average_pool1d"
    module = nn.AvgPool1d


class AveragePool2d(Pooling2d):
    """Mean of each window.

    Shape: [channels, height, width] to [channels, (height - pool) / stride + 1, (width - pool) / stride + 1].
    """

    type: Literal["average_pool2d"] = "average_pool2d"
    module = nn.AvgPool2d


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
