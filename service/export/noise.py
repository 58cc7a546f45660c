"""Noise that an exported graph draws for itself: other numbers at every call, and for every row."""

import torch
from torch import Tensor

from service.blocks.noise import Noise, keep_scale


class GraphNoise(Noise):
    """Random numbers as operations of the graph; rates are those of the service, rounded to 1/65536."""

    def mask(self, key: int, shape: tuple[int, ...], rate: float) -> Tensor:
        """Return 0 with the probability of dropping, else what keeps the mean."""
        scale = keep_scale(rate)
        return (torch.rand(shape) >= 1.0 - 1.0 / scale).float() * scale

    def uniforms(self, key: int, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape)

    def normals(self, key: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape)
