"""Convolutions that look at places and at channels one after the other."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, WeightedLayer, need_rank
from service.blocks.values import MAX_UNITS, Padding1, Padding2, Size1, Size2
from service.blocks.windows import Padded, even, pads_of


class Depthwise(WeightedLayer):
    """Base of the convolutions of each channel by itself."""

    module: ClassVar[type[nn.Module]]
    layout: ClassVar[str]

    depth_multiplier: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Outputs of each channel."""
    kernel_size: tuple[int, ...]
    """Size of the kernel along each axis."""
    stride: tuple[int, ...]
    """Step of the kernel along each axis."""
    padding: tuple[int, ...] | str
    """Zeros around."""
    dilation: tuple[int, ...]
    """Distance between the places a kernel looks at."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        return self.activated(self._depthwise(shape, context, bias=self.use_bias), context)

    def _depthwise(self, shape: Shape, context: BuildContext, *, bias: bool) -> nn.Module:
        need_rank(shape, len(self.kernel_size) + 1, self.layout)
        channels = shape[0]
        context.afford(channels * self.depth_multiplier, *self.kernel_size)
        spans = [d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        pads = pads_of(self.padding, shape[1:], spans, self.stride)
        symmetric = even(pads)
        kernel = self.module(
            channels,
            channels * self.depth_multiplier,
            self.kernel_size,
            stride=self.stride,
            padding=tuple([0] * len(pads) if symmetric is None else symmetric),
            dilation=self.dilation,
            groups=channels,
            bias=bias,
        )
        return Padded(kernel, pads) if symmetric is None else kernel


class Separable(Depthwise):
    """Base of the convolutions that are depthwise, then mix the channels of every place."""

    filters: Annotated[int, Field(ge=1, le=MAX_UNITS)]
    """Output channels."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        depthwise = self._depthwise(shape, context, bias=False)
        channels = shape[0] * self.depth_multiplier
        context.afford(self.filters, channels)
        pointwise = self.module(channels, self.filters, 1, bias=self.use_bias)
        return self.activated(OneAfterTheOther(depthwise, pointwise), context)


class OneAfterTheOther(nn.Module):
    """A depthwise convolution and the pointwise one behind it."""

    def __init__(self, depthwise: nn.Module, pointwise: nn.Module) -> None:
        super().__init__()
        self.depthwise, self.pointwise = depthwise, pointwise

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, [batch, filters, *sizes]."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class DepthwiseConv1d(Depthwise):
    """Convolution of each channel by itself over one axis.

    Shape: [channels, length] to [channels * depth_multiplier, length'], length' as in `conv1d`.
    """

    type: Literal["depthwise_conv1d"] = "depthwise_conv1d"
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


class DepthwiseConv2d(Depthwise):
    """Convolution of each channel by itself over two axes.

    Shape: [channels, height, width] to [channels * depth_multiplier, height', width'], each as in `conv1d`.

    Reference: Howard et al. 2017, "MobileNets", section 3.1.
    """

    type: Literal["depthwise_conv2d"] = "depthwise_conv2d"
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


class SeparableConv1d(Separable):
    """Depthwise convolution over one axis, then a mix of the channels at every place.

    Shape: [channels, length] to [filters, length'], length' as in `conv1d`.
    """

    type: Literal["separable_conv1d"] = "separable_conv1d"
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


class SeparableConv2d(Separable):
    """Depthwise convolution over two axes, then a mix of the channels at every place.

    Shape: [channels, height, width] to [filters, height', width'], each as in `conv1d`.

    Reference: Chollet 2017, "Xception: Deep Learning with Depthwise Separable Convolutions", section 1.
    """

    type: Literal["separable_conv2d"] = "separable_conv2d"
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
