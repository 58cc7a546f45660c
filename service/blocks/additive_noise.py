"""Augmentation by noise, for rows of any shape."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from service.blocks.augmentation import Augmentation


class RandomNoise(Augmentation):
    """Add Gaussian noise to every value.

    Unlike the layer `gaussian_noise` it is no part of the network: Monte-Carlo predictions do without it.
    Shape: any stays.

    Reference: Bishop 1995, "Training with Noise is Equivalent to Tikhonov Regularization".
    """

    type: Literal["random_noise"] = "random_noise"
    std: Annotated[float, Field(gt=0, le=1000)]
    """Standard deviation, in the units of the preprocessed values."""

    def apply(self, x: Tensor, source: torch.Generator) -> Tensor:
        return x + self.std * torch.randn(x.shape, generator=source, device=x.device)
