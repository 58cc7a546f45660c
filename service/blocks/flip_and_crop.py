"""Augmentation that moves whole pixels, so that no value changes: flips and crops.

Letters: b batch, c channels, h height, w width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from service.blocks.augmentation import UNIT, FillMode, ImageAugmentation, Probability, uniform
from service.blocks.base import Shape


class RandomFlip(ImageAugmentation):
    """Mirror each image with a probability: left to right, upside down, or both, each by a draw of its own.

    Shape: [channels, height, width] stays.
    """

    type: Literal["random_flip"] = "random_flip"
    mode: Literal["horizontal", "vertical", "horizontal_and_vertical"] = "horizontal"
    """`horizontal` swaps left and right, `vertical` top and bottom."""
    probability: Probability = 0.5
    """Probability of each flip."""

    def apply(self, x: Tensor, source: torch.Generator) -> Tensor:
        for name, axis in (("horizontal", -1), ("vertical", -2)):
            if name in self.mode:
                flipped = uniform(x, source, UNIT, 1, 1, 1) < self.probability
                x = torch.where(flipped, x.flip(axis), x)
        return x


class RandomCrop(ImageAugmentation):
    """Pad each image by `padding` pixels on every side and cut a piece of its old size out at a random place.

    Shape: [channels, height, width] stays; both sides must be longer than the padding.

    Reference: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2.
    """

    type: Literal["random_crop"] = "random_crop"
    padding: Annotated[int, Field(ge=1, le=10_000)]
    """Pixels that the image moves at most, each way."""
    fill_mode: FillMode = "constant"
    """What is padded: `fill_value`, the image mirrored at its edges, or the nearest pixel."""
    fill_value: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0
    """What `constant` pads with, in the units of the preprocessed values."""

    def refusal(self, shape: Shape) -> str | None:
        small = len(shape) == 3 and min(shape[1:]) <= self.padding
        return f"needs images larger than its padding of {self.padding} pixels" if small else super().refusal(shape)

    def apply(self, x: Tensor, source: torch.Generator) -> Tensor:
        size = (2, len(x), 1)
        down, right = torch.randint(-self.padding, self.padding + 1, size, generator=source, device=x.device)
        rows = (torch.arange(x.shape[2], device=x.device) + down)[:, None, :, None]
        columns = (torch.arange(x.shape[3], device=x.device) + right)[:, None, None, :]
        from_rows, from_columns = self._inside(rows, x.shape[2]), self._inside(columns, x.shape[3])
        places = (from_rows * x.shape[3] + from_columns).flatten(2)
        cropped = x.flatten(2).take_along_dim(places, dim=2).view(x.shape)
        if self.fill_mode != "constant":
            return cropped
        return torch.where((rows == from_rows) & (columns == from_columns), cropped, self.fill_value)

    def _inside(self, index: Tensor, size: int) -> Tensor:
        """Return the pixels that are seen at positions, some of which lie beyond the edges."""
        if self.fill_mode == "reflect":
            around = index % (2 * size)
            return torch.minimum(around, 2 * size - 1 - around)
        return index.clamp(0, size - 1)
