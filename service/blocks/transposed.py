"""Transposed convolutions: what a convolution does to gradients, forwards; used to grow feature maps."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, ShapeError, WeightedLayer, need_rank
from service.blocks.values import MAX_UNITS, Padding1, Padding2, Padding3, Size1, Size2, Size3


class TransposedConvolution(WeightedLayer):
    """Base of the transposed convolutions."""

    module: ClassVar[type[nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d]]
    layout: ClassVar[str]
    transposed: ClassVar[bool] = True

    filters: Annotated[int, Field(ge=1, le=MAX_UNITS)]
    """Output channels."""
    groups: Annotated[int, Field(ge=1, le=MAX_UNITS)] = 1
    """Blocks of channels that see only each other; it divides both the input channels and `filters`."""
    kernel_size: tuple[int, ...]
    """Size of the kernel along each axis."""
    stride: tuple[int, ...]
    """Distance between the copies of the kernel."""
    padding: tuple[int, ...] | str
    """What is cut off."""
    dilation: tuple[int, ...]
    """Distance between the places of a kernel."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        need_rank(shape, len(self.kernel_size) + 1, self.layout)
        if shape[0] % self.groups or self.filters % self.groups:
            raise ShapeError(f"input channels and filters that {self.groups} groups divide")
        context.afford(shape[0], self.filters // self.groups, *self.kernel_size)
        kernel = self.module(
            shape[0],
            self.filters,
            self.kernel_size,  # type: ignore[arg-type]
            stride=self.stride,  # type: ignore[arg-type]
            dilation=self.dilation,  # type: ignore[arg-type]
            groups=self.groups,
            bias=self.use_bias,
        )
        return self.activated(Cropped(kernel, self._cuts(shape)), context)

    def _cuts(self, shape: Shape) -> list[tuple[int, int]]:
        """Return what is cut off before and behind each axis of the full output."""
        cuts = []
        for axis, (n, k, s, d) in enumerate(zip(shape[1:], self.kernel_size, self.stride, self.dilation, strict=True)):
            full = (n - 1) * s + d * (k - 1) + 1
            wanted = self._wanted(n, s, full, axis)
            if wanted < 1:
                raise ShapeError(f"a padding below {full / 2:g} along axis {axis + 1}, or it cuts everything off")
            before = max(0, (full - wanted) // 2)
            cuts.append((before, full - wanted - before))
        return cuts

    def _wanted(self, size: int, stride: int, full: int, axis: int) -> int:
        if self.padding == "same":
            return size * stride
        return full if self.padding == "valid" else full - 2 * int(self.padding[axis])


class Cropped(nn.Module):
    """A transposed convolution with its borders cut off; where there is less than wanted, zeros are added behind.

    Shape: [batch, channels, *sizes].
    """

    def __init__(self, inner: nn.Module, cuts: list[tuple[int, int]]) -> None:
        super().__init__()
        self.inner = inner
        # torch wants the last axis first, and takes negative numbers for cuts.
        self.pads = [-n for cut in reversed(cuts) for n in cut]

    def forward(self, x: Tensor) -> Tensor:
        """Return the output without its borders."""
        out: Tensor = self.inner(x)
        return torch.nn.functional.pad(out, self.pads) if any(self.pads) else out


class Conv1dTranspose(TransposedConvolution):
    """Transposed convolution over one axis.

    Shape: [channels, length] to [filters, length'], length' = (length - 1) * stride + span - 2 padding, where a kernel
    spans dilation * (kernel_size - 1) + 1 places; length * stride with padding "same".
    """

    type: Literal["conv1d_transpose"] = "conv1d_transpose"
    module = nn.ConvTranspose1d
    layout = "(channels, length)"
    kernel_size: Size1
    """Length of the kernel."""
    stride: Size1 = (1,)
    """How many times longer the output is."""
    padding: Padding1 = "valid"
    """What is cut off: "valid" nothing, "same" all beyond length * stride, or a number on each side."""
    dilation: Size1 = (1,)
    """Distance between the places of a kernel."""


class Conv2dTranspose(TransposedConvolution):
    """Transposed convolution over two axes.

    Shape: [channels, height, width] to [filters, height', width'], each as in `conv1d_transpose`.

    Reference: Zeiler et al. 2010, "Deconvolutional Networks"; Dumoulin and Visin 2016, "A Guide to Convolution
    Arithmetic for Deep Learning", section 4.
    """

    type: Literal["conv2d_transpose"] = "conv2d_transpose"
    module = nn.ConvTranspose2d
    layout = "(channels, height, width)"
    kernel_size: Size2
    """Height and width of the kernel; one number for both."""
    stride: Size2 = (1, 1)
    """How many times larger the output is along each axis; one number for both."""
    padding: Padding2 = "valid"
    """What is cut off: "valid" nothing, "same" all beyond size * stride, or a number on each side."""
    dilation: Size2 = (1, 1)
    """Distance between the places of a kernel; one number for both."""


class Conv3dTranspose(TransposedConvolution):
    """Transposed convolution over three axes.

    Shape: [channels, depth, height, width] to [filters, depth', height', width'], each as in `conv1d_transpose`.
    """

    type: Literal["conv3d_transpose"] = "conv3d_transpose"
    module = nn.ConvTranspose3d
    layout = "(channels, depth, height, width)"
    kernel_size: Size3
    """Depth, height and width of the kernel; one number for all."""
    stride: Size3 = (1, 1, 1)
    """How many times larger the output is along each axis; one number for all."""
    padding: Padding3 = "valid"
    """What is cut off: "valid" nothing, "same" all beyond size * stride, or a number on each side."""
    dilation: Size3 = (1, 1, 1)
    """Distance between the places of a kernel."""
