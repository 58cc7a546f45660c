"""Transposed convolutions: what a convolution does to gradients, forwards; used to grow feature maps."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, ShapeError, WeightedLayer, need_rank
from service.blocks.values import MAX_UNITS, Padding1, Padding2, Padding3, Rest1, Rest2, Rest3, Size1, Size2, Size3


class TransposedConvolution(WeightedLayer):
    """Base of the transposed convolutions."""

    module: ClassVar[type[nn.Module]]
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
    output_padding: tuple[int, ...]
    """Places added behind."""

    @model_validator(mode="after")
    def _places_behind_are_the_rest_of_a_step(self) -> Self:
        if self.padding == "same" and any(self.output_padding):
            raise ValueError('output_padding must be 0 with padding "same", which says the size itself')
        steps = zip(self.output_padding, self.stride, self.dilation, strict=True)
        if any(rest >= max(stride, dilation) for rest, stride, dilation in steps):
            raise ValueError("output_padding must be smaller than stride or dilation")
        return self

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        need_rank(shape, len(self.kernel_size) + 1, self.layout)
        if shape[0] % self.groups or self.filters % self.groups:
            raise ShapeError(f"input channels and filters that {self.groups} groups divide")
        context.afford(shape[0], self.filters // self.groups, *self.kernel_size)
        cuts, rests, sizes = zip(*map(self._margins, range(len(self.kernel_size)), shape[1:]), strict=True)
        kernel = self.module(
            shape[0],
            self.filters,
            self.kernel_size,
            stride=self.stride,
            padding=cuts,
            output_padding=rests,
            dilation=self.dilation,
            groups=self.groups,
            bias=self.use_bias,
        )
        return self.activated(Cropped(kernel, sizes), context)

    def _margins(self, axis: int, size: int) -> tuple[int, int, int]:
        """Return how many places an axis loses on each side, how many it then gains behind, and how many it keeps.

        "same" undoes what "same" adds in a convolution: of an odd number the larger half is lost behind.
        """
        stride, span = self.stride[axis], self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
        if self.padding == "same":
            return max(0, span - stride) // 2, max(0, stride - span), size * stride
        cut = 0 if isinstance(self.padding, str) else self.padding[axis]
        full = (size - 1) * stride + span + self.output_padding[axis]
        if full - 2 * cut < 1:
            raise ShapeError(f"a padding below {full / 2:g} along axis {axis + 1}, or it cuts everything off")
        return cut, self.output_padding[axis], full - 2 * cut


class Cropped(nn.Module):
    """A module of whose output only the first `sizes` places are kept.

    Shape: [batch, channels, *sizes].
    """

    def __init__(self, inner: nn.Module, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.inner = inner
        self.kept = (slice(None), slice(None), *map(slice, sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the output without what lies behind."""
        out: Tensor = self.inner(x)
        return out[self.kept]


class Conv1dTranspose(TransposedConvolution):
    """Transposed convolution over one axis.

    Shape: [channels, length] to [filters, length'], length' = (length - 1) * stride + span - 2 padding +
    output_padding, where a kernel spans dilation * (kernel_size - 1) + 1 places; length * stride with padding "same".
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
    output_padding: Rest1 = (0,)
    """Places added behind, fewer than `stride` or `dilation`; not with "same", which says the size itself."""


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
    output_padding: Rest2 = (0, 0)
    """Places added behind, fewer than `stride` or `dilation`; not with "same", which says the size itself."""


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
    output_padding: Rest3 = (0, 0, 0)
    """Places added behind, fewer than `stride` or `dilation`; not with "same", which says the size itself."""
