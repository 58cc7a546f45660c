"""Convolutions over one, two and three axes."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, ShapeError, WeightedLayer, need_rank
from service.blocks.values import MAX_UNITS, Padding1, Padding2, Padding3, Size1, Size2, Size3
from service.blocks.windows import Padded, even, pads_of


class Convolution(WeightedLayer):
    """Base of the convolutions: a kernel slid along the axes behind the channels."""

    module: ClassVar[type[nn.Module]]
    layout: ClassVar[str]

    filters: Annotated[int, Field(ge=1, le=MAX_UNITS)]
    """Output channels."""
    groups: Annotated[int, Field(ge=1, le=MAX_UNITS)] = 1
    """Blocks of channels that see only each other; it divides both the input channels and `filters`."""
    kernel_size: tuple[int, ...]
    """Size of the kernel along each axis."""
    stride: tuple[int, ...]
    """Step of the kernel along each axis."""
    padding: tuple[int, ...] | str
    """Zeros around."""
    dilation: tuple[int, ...]
    """Distance between the places a kernel looks at."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        need_rank(shape, len(self.kernel_size) + 1, self.layout)
        if shape[0] % self.groups or self.filters % self.groups:
            raise ShapeError(f"input channels and filters that {self.groups} groups divide")
        context.afford(self.filters, shape[0] // self.groups, *self.kernel_size)
        spans = [d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        pads = pads_of(self.padding, shape[1:], spans, self.stride)
        symmetric = even(pads)
        kernel = self._kernel(shape[0], [0] * len(pads) if symmetric is None else symmetric)
        return self.activated(Padded(kernel, pads) if symmetric is None else kernel, context)

    def _kernel(self, channels: int, padding: list[int]) -> nn.Module:
        return self.module(
            channels,
            self.filters,
            self.kernel_size,
            stride=self.stride,
            padding=tuple(padding),
            dilation=self.dilation,
            groups=self.groups,
            bias=self.use_bias,
        )


class Conv1d(Convolution):
    """Convolution over one axis.

    Shape: [channels, length] to [filters, length'], length' = (length + 2 padding - span) / stride + 1, rounded
    down, where a kernel spans dilation * (kernel_size - 1) + 1 places.
    """

    type: Literal["conv1d"] = "conv1d"
    module = nn.Conv1d
    layout = "(channels, length)"
    kernel_size: Size1
    """Length of the kernel."""
    stride: Size1 = (1,)
    """Step of the kernel."""
    padding: Padding1 = "valid"
    """Zeros around: "valid" none, "same" as many as keep ceil(length / stride), or a number on each side."""
    dilation: Size1 = (1,)
    """Distance between the places a kernel looks at."""


class Conv2d(Convolution):
    """Convolution over two axes.

    Shape: [channels, height, width] to [filters, height', width'], each as in `conv1d`.

    Reference: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition".
    """

    type: Literal["conv2d"] = "conv2d"
    module = nn.Conv2d
    layout = "(channels, height, width)"
    kernel_size: Size2
    """Height and width of the kernel; one number for both."""
    stride: Size2 = (1, 1)
    """Step of the kernel along each axis; one number for both."""
    padding: Padding2 = "valid"
    """Zeros around: "valid" none, "same" as many as keep ceil(size / stride), or a number on each side."""
    dilation: Size2 = (1, 1)
    """Distance between the places a kernel looks at; one number for both."""


class Conv3d(Convolution):
    """Convolution over three axes.

    Shape: [channels, depth, height, width] to [filters, depth', height', width'], each as in `conv1d`.

    Reference: Ji et al. 2013, "3D Convolutional Neural Networks for Human Action Recognition".
    """

    type: Literal["conv3d"] = "conv3d"
    module = nn.Conv3d
    layout = "(channels, depth, height, width)"
    kernel_size: Size3
    """Depth, height and width of the kernel; one number for all."""
    stride: Size3 = (1, 1, 1)
    """Step of the kernel along each axis; one number for all."""
    padding: Padding3 = "valid"
    """Zeros around: "valid" none, "same" as many as keep ceil(size / stride), or a number on each side."""
    dilation: Size3 = (1, 1, 1)
    """Distance between the places a kernel looks at."""
