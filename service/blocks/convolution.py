"""Convolutions over one and two axes."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, ShapeError, WeightedLayer, need_rank
from service.blocks.values import MAX_UNITS, Padding1, Padding2, Size1, Size2


class Convolution(WeightedLayer):
    """Base of the convolutions: a kernel slid along the axes behind the channels."""

    module: ClassVar[type[nn.Module]]
    layout: ClassVar[str]

    filters: Annotated[int, Field(ge=1, le=MAX_UNITS)]
    """Output channels."""
    groups: Annotated[int, Field(ge=1, le=MAX_UNITS)] = 1
    """Blocks of channels that see only each other; it divides both the input channels and `filters`."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        sizes: Any = self
        need_rank(shape, len(sizes.kernel_size) + 1, self.layout)
        if shape[0] % self.groups or self.filters % self.groups:
            raise ShapeError(f"input channels and filters that {self.groups} groups divide")
        same = sizes.padding == "same"
        if same and any(stride != 1 for stride in sizes.stride):
            return self.activated(SamePadded(self._kernel(shape, sizes, 0), sizes), context)
        return self.activated(self._kernel(shape, sizes, 0 if sizes.padding == "valid" else sizes.padding), context)

    def _kernel(self, shape: Shape, sizes: Any, padding: Any) -> nn.Module:
        return self.module(
            shape[0],
            self.filters,
            sizes.kernel_size,
            stride=sizes.stride,
            padding=padding,
            dilation=sizes.dilation,
            groups=self.groups,
            bias=self.use_bias,
        )


class SamePadded(nn.Module):
    """A strided convolution whose output has ceil(size / stride) places, as Keras pads: the odd zero goes last."""

    def __init__(self, kernel: nn.Module, sizes: Any) -> None:
        super().__init__()
        self.kernel = kernel
        self.spans = [dilation * (size - 1) + 1 for size, dilation in zip(sizes.kernel_size, sizes.dilation, strict=True)]
        self.strides = list(sizes.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of the padded input."""
        pads: list[int] = []
        for size, span, stride in zip(reversed(x.shape[2:]), reversed(self.spans), reversed(self.strides), strict=True):
            total = max(0, (-(-size // stride) - 1) * stride + span - size)
            pads += [total // 2, total - total // 2]
        convolved: Tensor = self.kernel(functional.pad(x, pads))
        return convolved


class Conv1d(Convolution):
    """Convolution over one axis.

    Shape: [channels, length] to [filters, length'], length' = (length + 2 padding - span) / stride + 1.
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

    Shape: [channels, height, width] to [filters, height', width'], height' = (height + 2 padding - span) / stride + 1.

    Reference: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition".
    """

    type: Literal["conv2d"] = "conv2d"
    module = nn.Conv2d
    layout = "(channels, height, width)"
    kernel_size: Size2
    """Height and width of the kernel; one number for both."""
    stride: Size2 = (1, 1)
    """Step of the kernel along each axis."""
    padding: Padding2 = "valid"
    """Zeros around: "valid" none, "same" as many as keep ceil(size / stride), or a number on each side."""
    dilation: Size2 = (1, 1)
    """Distance between the places a kernel looks at."""
