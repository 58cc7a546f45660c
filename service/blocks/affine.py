"""Augmentation that reads values between pixels: rotation, translation, zoom, shear.

Positions are in pixels from the centre of the image, x to the right and y down, so that an image that is not square
is turned without being stretched. Letters: b batch, c channels, h height, w width.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from service.blocks.augmentation import FillMode, ImageAugmentation, around, uniform

PADDING = {"reflect": "reflection", "nearest": "border", "constant": "zeros"}
"""The names of the fill modes for `grid_sample`, which without aligned corners mirrors at the edges of the image."""


class AffineAugmentation(ImageAugmentation):
    """Base of the steps whose value at (x, y) is the one that was at `motion @ (x, y, 1)`."""

    fill_mode: FillMode = "reflect"
    """What lies beyond the edges: the image mirrored there, the nearest pixel, or `fill_value`."""
    fill_value: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0
    """What `constant` fills with, in the units of the preprocessed values."""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    """How values between pixels are read."""

    def motion(self, x: Tensor, source: torch.Generator) -> Tensor:
        """Return where each image of `x` [b, c, h, w] is read, [b, 2, 3]."""
        raise NotImplementedError

    def apply(self, x: Tensor, source: torch.Generator) -> Tensor:
        places = grid(self.motion(x, source), *x.shape[2:])
        fill = self.fill_value if self.fill_mode == "constant" else 0.0
        # grid_sample fills with zeros only.
        moved = functional.grid_sample(
            x - fill if fill else x,
            places,
            mode=self.interpolation,
            padding_mode=PADDING[self.fill_mode],
            align_corners=False,
        )
        return moved + fill if fill else moved


def grid(motion: Tensor, height: int, width: int) -> Tensor:
    """Return what `grid_sample` takes, [b, h, w, 2]: places in an image that reaches from -1 to 1, edge to edge.

    Unlike `affine_grid`, without a matrix product: a GPU may round those to ten bits (TF32), and their bits may
    depend on the other rows of the batch.
    """
    right = torch.arange(width, device=motion.device) - (width - 1) / 2
    down = torch.arange(height, device=motion.device).view(-1, 1) - (height - 1) / 2
    terms = motion[..., None, None]
    x, y = (terms[:, :, 0] * right + terms[:, :, 1] * down + terms[:, :, 2]).unbind(1)
    return torch.stack([x * (2 / width), y * (2 / height)], dim=-1)


def matrix(*entries: Tensor) -> Tensor:
    """Return six numbers for each image, each [b], as [b, 2, 3]."""
    return torch.stack(entries, dim=-1).view(-1, 2, 3)


class RandomRotation(AffineAugmentation):
    """Turn each image about its centre by an angle drawn uniformly from `degrees`, counter-clockwise.

    Shape: [channels, height, width] stays.
    """

    type: Literal["random_rotation"] = "random_rotation"
    degrees: Annotated[tuple[float, float], *around(0, -180, 180)]
    """Smallest and largest angle; a number d: [-d, d]."""

    def motion(self, x: Tensor, source: torch.Generator) -> Tensor:
        angle = uniform(x, source, self.degrees) * (math.pi / 180)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        return matrix(cos, -sin, zero, sin, cos, zero)


class RandomTranslation(AffineAugmentation):
    """Move each image by shares of its height (positive: down) and width (positive: right), drawn uniformly.

    Shape: [channels, height, width] stays.
    """

    type: Literal["random_translation"] = "random_translation"
    height_factor: Annotated[tuple[float, float], *around(0, -1, 1)]
    """Smallest and largest share of the height; a number d: [-d, d]."""
    width_factor: Annotated[tuple[float, float], *around(0, -1, 1)]
    """Smallest and largest share of the width; a number d: [-d, d]."""

    def motion(self, x: Tensor, source: torch.Generator) -> Tensor:
        down = uniform(x, source, self.height_factor) * x.shape[2]
        right = uniform(x, source, self.width_factor) * x.shape[3]
        one, zero = torch.ones_like(down), torch.zeros_like(down)
        return matrix(one, zero, -right, zero, one, -down)


class RandomZoom(AffineAugmentation):
    """Enlarge each image about its centre by a factor drawn uniformly from `scale`; below 1 it gets smaller.

    Shape: [channels, height, width] stays.
    """

    type: Literal["random_zoom"] = "random_zoom"
    scale: Annotated[tuple[float, float], *around(1, 0.1, 10)]
    """Smallest and largest factor; a number d: [1 - d, 1 + d]."""

    def motion(self, x: Tensor, source: torch.Generator) -> Tensor:
        step = 1.0 / uniform(x, source, self.scale)
        zero = torch.zeros_like(step)
        return matrix(step, zero, zero, zero, step, zero)


class RandomShear(AffineAugmentation):
    """Slant each image: the value at (x, y) is the one that was at (x + f * y, y + g * x), f and g drawn uniformly.

    Shape: [channels, height, width] stays.
    """

    type: Literal["random_shear"] = "random_shear"
    x_factor: Annotated[tuple[float, float], *around(0, -2, 2)]
    """Smallest and largest f, the pixels that a row is moved against the row above; a number d: [-d, d]."""
    y_factor: Annotated[tuple[float, float], *around(0, -2, 2)] = (0.0, 0.0)
    """Smallest and largest g, the pixels that a column is moved against the one before; a number d: [-d, d]."""

    def motion(self, x: Tensor, source: torch.Generator) -> Tensor:
        f, g = uniform(x, source, self.x_factor), uniform(x, source, self.y_factor)
        one, zero = torch.ones_like(f), torch.zeros_like(f)
        return matrix(one, f, zero, g, one, zero)
