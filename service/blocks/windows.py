"""What kernels and pooling windows share: how much is added around the axes that they slide along."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from service.blocks.base import Shape
from service.blocks.layers import ShapeError

Pads = list[tuple[int, int]]
"""What is added before and behind each axis."""


def pads_of(padding: Sequence[int] | str, sizes: Shape, spans: Sequence[int], strides: Sequence[int]) -> Pads:
    """Return what to add around axes of `sizes`, for windows that span so many places.

    "same" leaves ceil(size / stride) places, the odd one added behind, as Keras does it.

    Raises:
        ShapeError: A window does not fit even once.
    """
    if padding == "same":
        totals = [max(0, (-(-n // d) - 1) * d + s - n) for n, s, d in zip(sizes, spans, strides, strict=True)]
        pads = [(total // 2, total - total // 2) for total in totals]
    else:
        pads = [(n, n) for n in (len(sizes) * (0,) if padding == "valid" else cast(Sequence[int], padding))]
    if any(size + sum(pad) < span for size, pad, span in zip(sizes, pads, spans, strict=True)):
        raise ShapeError(f"at least {' x '.join(map(str, spans))} places behind the channels, padding included")
    return pads


def even(pads: Pads) -> list[int] | None:
    """Return what is added on both sides of each axis, None where an axis has more behind than before."""
    return [before for before, _ in pads] if all(before == behind for before, behind in pads) else None


class Padded(nn.Module):
    """A module whose input is padded first.

    Shape: [batch, channels, *sizes].
    """

    def __init__(self, inner: nn.Module, pads: Pads, value: float = 0.0) -> None:
        super().__init__()
        self.inner = inner
        # torch wants the last axis first.
        self.pads = [n for pad in reversed(pads) for n in pad]
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """Return the inner module's output for the padded input."""
        out: Tensor = self.inner(functional.pad(x, self.pads, value=self.value))
        return out


class PaddedMean(Padded):
    """A mean over windows that leaves out what padding added."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums of the windows over how many of their places are real."""
        real: Tensor = super().forward(x.new_ones(1, 1, *x.shape[2:]))
        return super().forward(x) / real
