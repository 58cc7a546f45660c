"""The noise of a step of several jobs: for each what it would draw alone.

Shape letter: K jobs.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from service.blocks.noise import Noise, bits_of_block, keep_mask, keep_masks, turns_at_once


class _Drawn(NamedTuple):
    """The bits of some turns one after the other, [turns, K, ...], and the number of the first of them."""

    first: int
    values: Tensor


class PackedNoise(Noise):
    """`StepNoise` of K seeds, one below the other: [K, ...] for what a layer of one job asks for.

    `rates` are those of each job, by the number of the layer, where they are not what the layer says.
    """

    def __init__(
        self, seeds: Sequence[int], device: torch.device, parts: int, rates: Mapping[int, Sequence[float]]
    ) -> None:
        self._seeds, self._device, self._parts, self._rates = list(seeds), device, parts, dict(rates)
        self.step = self.part = 0
        self._drawn: dict[tuple[int, tuple[int, ...]], _Drawn] = {}

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        """Return the bits of every job, [K, *shape]."""
        turn = self.step * self._parts + self.part
        drawn = self._drawn.get((key, shape))
        if drawn is None or not 0 <= turn - drawn.first < len(drawn.values):
            drawn = self._drawn[key, shape] = self._draw(turn, key, shape)
        return drawn.values[turn - drawn.first]

    def mask(self, key: int, shape: tuple[int, ...], rate: float) -> Tensor:
        """Return the mask of every job, [K, *shape]."""
        bits = self.bits(key, shape)
        return keep_masks(bits, self._rates[key]) if key in self._rates else keep_mask(bits, rate)

    def _draw(self, turn: int, key: int, shape: tuple[int, ...]) -> _Drawn:
        turns = turns_at_once(shape)
        block = turn // turns
        # By turn first: what one step takes then lies together.
        values = torch.empty(turns, len(self._seeds), *shape, dtype=torch.int16, device=self._device)
        for place, seed in enumerate(self._seeds):
            values[:, place] = bits_of_block(seed, block, key, shape, self._device)
        return _Drawn(block * turns, values)
