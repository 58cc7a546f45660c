"""Augmentation: training rows that are changed at random every time the network sees them.

Steps stand behind the preprocessing, in training only: values are in its units (deviations after `standardize`,
parts of the range after `min_max`) and are not clipped to any range. Every row has draws of its own, all from the
generator of the training step. The steps are in affine, flip_and_crop, color, erasing and additive_noise.

Letters: b batch, c channels, h height, w width.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeGuard

import torch
from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from torch import Tensor

from service.blocks.base import Block, OneOf, Shape

FillMode = Literal["reflect", "nearest", "constant"]
UNIT = (0.0, 1.0)
Probability = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Block):
    """A random change of training rows, behind the preprocessing; predictions and validation see rows as they are."""

    family = "augmentation"

    def refusal(self, shape: Shape) -> str | None:
        """Return what the step needs when it cannot take rows of `shape`, None when it can."""
        return None

    def apply(self, x: Tensor, source: torch.Generator) -> Tensor:
        """Return the rows of `x` changed, every one by draws of its own; `x` stays.

        Shape: float32 [batch, *shape] stays. `source` is on the device of `x`.
        """
        raise NotImplementedError


class ImageAugmentation(Augmentation):
    """Base of the steps for images."""

    def refusal(self, shape: Shape) -> str | None:
        return None if len(shape) == 3 else "needs images, [channels, height, width]"


def uniform(x: Tensor, source: torch.Generator, ends: Sequence[float], *shape: int) -> Tensor:
    """Return uniform numbers between two ends for each row of `x`, [b, *shape]."""
    low, high = ends
    return low + (high - low) * torch.rand(len(x), *shape, generator=source, device=x.device)


def rectangle(x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Return which pixels of each image of `x` have their centre in a rectangle, given in pixels.

    Shape: sides and corners [b, 1, 1, 1]; bool [b, 1, h, w].
    """
    down = torch.arange(x.shape[2], device=x.device).view(-1, 1) + 0.5 - top
    right = torch.arange(x.shape[3], device=x.device) + 0.5 - left
    return (down >= 0) & (down < height) & (right >= 0) & (right < width)


def around(middle: float, low: float, high: float) -> Any:
    """Return the annotations of a range within [low, high]; a number d stands for [middle - d, middle + d]."""
    most = min(middle - low, high - middle)
    meaning = f"[{middle:g} - d, {middle:g} + d]" if middle else "[-d, d]"
    pair_of = f"a list of two numbers from {low:g} to {high:g}, the smaller one first"
    allowed = f"a number d from 0 to {most:g}, which stands for {meaning}, or {pair_of}"

    def check(value: object) -> tuple[float, float]:
        if _number(value) and 0 <= value <= most:
            return max(low, middle - value), min(high, middle + value)
        if isinstance(value, list | tuple) and len(value) == 2 and all(map(_number, value)):
            first, last = value
            if low <= first <= last <= high:
                return float(first), float(last)
        raise PydanticCustomError("range", "must be {allowed}", {"allowed": allowed})

    one = {"type": "number", "minimum": low, "maximum": high}
    pair = {"type": "array", "items": one, "minItems": 2, "maxItems": 2}
    return BeforeValidator(check), WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0, "maximum": most}, pair]})


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


AnyAugmentation = Annotated[Augmentation, OneOf()]
