"""Augmentation of brightness and colours. Nothing is clipped: preprocessed values have no fixed range.

Letters: b batch, c channels, h height, w width.
"""

from typing import Annotated, Literal

import torch
from torch import Tensor

from service.blocks.augmentation import ImageAugmentation, around, uniform
from service.blocks.base import Shape


class RandomBrightness(ImageAugmentation):
    """Add one number to every value of an image, drawn uniformly from `factor`.

    It is in the units of the preprocessed values: 0.2 is a fifth of a deviation after `standardize`, a fifth of the
    range after `min_max`, and next to nothing on raw bytes. Shape: [channels, height, width] stays.
    """

    type: Literal["random_brightness"] = "random_brightness"
    factor: Annotated[tuple[float, float], *around(0, -1000, 1000)]
    """Smallest and largest number to add; a number d: [-d, d]."""

    def apply(self, x: Tensor, source: torch.Generator) -> Tensor:
        return x + uniform(x, source, self.factor, 1, 1, 1)


class RandomContrast(ImageAugmentation):
    """Stretch the values of an image about the mean m of each of its channels: m + f * (x - m), f drawn uniformly.

    The same whatever shift and scale the preprocessing gave the channels. Shape: [channels, height, width] stays.
    """

    type: Literal["random_contrast"] = "random_contrast"
    factor: Annotated[tuple[float, float], *around(1, 0, 100)]
    """Smallest and largest f; below 1 makes images flatter; a number d: [1 - d, 1 + d]."""

    def apply(self, x: Tensor, source: torch.Generator) -> Tensor:
        return torch.lerp(x.mean(dim=(2, 3), keepdim=True), x, uniform(x, source, self.factor, 1, 1, 1))


class ColorAugmentation(ImageAugmentation):
    """Base of the steps that set channels against each other."""

    def refusal(self, shape: Shape) -> str | None:
        grey = len(shape) == 3 and shape[0] == 1
        return "needs images of several channels; these are grey" if grey else super().refusal(shape)


class RandomSaturation(ColorAugmentation):
    """Stretch the channels of each pixel about their mean g: g + f * (x - g), f drawn uniformly; 0 gives grey.

    Channels are compared as they are preprocessed. Shape: [channels, height, width] stays, at least two channels.
    """

    type: Literal["random_saturation"] = "random_saturation"
    factor: Annotated[tuple[float, float], *around(1, 0, 100)]
    """Smallest and largest f; below 1 makes colours paler; a number d: [1 - d, 1 + d]."""

    def apply(self, x: Tensor, source: torch.Generator) -> Tensor:
        return torch.lerp(x.mean(dim=1, keepdim=True), x, uniform(x, source, self.factor, 1, 1, 1))


class RandomChannelShift(ColorAugmentation):
    """Shift the colours of an image: add a number to each of its channels, every one drawn uniformly from `factor`.

    It is in the units of the preprocessed values, as for `random_brightness`. Shape: [channels, height, width] stays,
    at least two channels.
    """

    type: Literal["random_channel_shift"] = "random_channel_shift"
    factor: Annotated[tuple[float, float], *around(0, -1000, 1000)]
    """Smallest and largest number to add; a number d: [-d, d]."""

    def apply(self, x: Tensor, source: torch.Generator) -> Tensor:
        return x + uniform(x, source, self.factor, x.shape[1], 1, 1)
