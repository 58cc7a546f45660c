"""Augmentation that hides a part of each image.

Letters: b batch, c channels, h height, w width.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from service.blocks.augmentation import UNIT, ImageAugmentation, Probability, rectangle, uniform

TRIES = 10
"""Rectangles that are drawn for each image, of which the first that fits is taken."""


class RandomErasing(ImageAugmentation):
    """Put noise or a constant in the place of a rectangle of each image, with a probability.

    The share of the area is uniform in `scale`, the height over the width log-uniform in `ratio`, so that upright and
    lying rectangles are equally likely, and the place uniform among those where all of it lies inside the image. Of
    ten such rectangles the first that can lie inside is taken; where none can, the image stays.
    Shape: [channels, height, width] stays.

    Reference: Zhong et al. 2020, "Random Erasing Data Augmentation", algorithm 1.
    """

    type: Literal["random_erasing"] = "random_erasing"
    probability: Probability = 0.5
    """Probability that an image loses a part."""
    scale: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=2, max_length=2)] = [0.02, 0.4]
    """Smallest and largest share of the image's area."""
    ratio: Annotated[list[Annotated[float, Field(ge=0.01, le=100)]], Field(min_length=2, max_length=2)] = [0.3, 1 / 0.3]
    """Smallest and largest height over width."""
    fill_value: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    """What is put there, in the units of the preprocessed values; unset: noise, each value drawn uniformly between the
    smallest and the largest of its image."""

    @field_validator("scale", "ratio")
    @classmethod
    def _smaller_first(cls, ends: list[float]) -> list[float]:
        if ends[0] > ends[1]:
            raise ValueError("must go from the smaller number to the larger one")
        return ends

    def apply(self, x: Tensor, source: torch.Generator) -> Tensor:
        erased = self._rectangles(x, source) & (uniform(x, source, UNIT, 1, 1, 1) < self.probability)
        if self.fill_value is not None:
            return torch.where(erased, self.fill_value, x)
        low, high = x.amin(dim=(1, 2, 3), keepdim=True), x.amax(dim=(1, 2, 3), keepdim=True)
        noise = low + (high - low) * torch.rand(x.shape, generator=source, device=x.device)
        return torch.where(erased, noise, x)

    def _rectangles(self, x: Tensor, source: torch.Generator) -> Tensor:
        """Return which pixels of each image its rectangle covers, bool [b, 1, h, w]."""
        rows, columns = x.shape[2:]
        area = uniform(x, source, self.scale, TRIES) * (rows * columns)
        ratio = uniform(x, source, [*map(math.log, self.ratio)], TRIES).exp()
        height, width = (area * ratio).sqrt(), (area / ratio).sqrt()
        fits = (height <= rows) & (width <= columns)
        first = fits.int().argmax(dim=1, keepdim=True)
        # A rectangle without a width covers no pixel.
        width = torch.where(fits, width, 0.0)
        height, width = (side.gather(1, first).view(-1, 1, 1, 1) for side in (height, width))
        top = uniform(x, source, UNIT, 1, 1, 1) * (rows - height)
        left = uniform(x, source, UNIT, 1, 1, 1) * (columns - width)
        return rectangle(x, top, left, height, width)
