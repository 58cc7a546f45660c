"""The noise of Monte-Carlo prediction: a sample is one thinned network, the same for every row.

The mask of sample t depends on the seed, the layer and t, and on nothing else: not on how many samples
are asked for, not on the rows that share the request, not on how the work is cut into tiles.
"""

import threading
from functools import lru_cache
from math import prod

import numpy as np
import torch
from torch import Tensor

from service.blocks.noise import Noise
from service.randomness import derive

BLOCK_SAMPLES = 64
BLOCK_VALUES = 65_536
KEPT_BLOCKS = 256
"""At two bytes a value, at most 32 MiB are kept."""


class SampleNoise:
    """Noise of samples `first` to `first + count`, for a batch that holds its rows sample by sample."""

    def __init__(self, seed: int, first: int, count: int, device: torch.device) -> None:
        self.seed, self.first, self.count, self.device = seed, first, count, device

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        """Return the bits of layer `key`, [count * rows, ...]; [1, ...] to broadcast when the batch is one sample."""
        drawn = self._draw(key, shape[1:])
        rows = shape[0] // self.count
        if rows == 1 or self.count == 1:
            return drawn
        return drawn.unsqueeze(1).expand(self.count, rows, *shape[1:]).reshape(shape)

    def _draw(self, key: int, shape: tuple[int, ...]) -> Tensor:
        # Seeding a generator costs as much as drawing ten thousand numbers, so small masks share one.
        size = max(1, min(BLOCK_SAMPLES, BLOCK_VALUES // max(1, prod(shape))))
        draw = _draw_block if prod(shape) > BLOCK_VALUES else _kept_block
        start, stop = self.first // size, -(-(self.first + self.count) // size)
        blocks = [draw(self.seed, key, index, (size, *shape), self.device) for index in range(start, stop)]
        offset = self.first - start * size
        joined = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
        return joined[offset : offset + self.count]


def _draw_block(seed: int, key: int, index: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    # NumPy's SFC64 draws four times as fast as torch's Mersenne twister, promises its stream from version to
    # version, and gives a GPU the samples that a processor has.
    values = prod(shape)
    words = np.random.SFC64(derive(seed, "predict", key, index)).random_raw(-(-values // 4))
    return torch.from_numpy(words.view(np.int16)[:values].reshape(shape)).to(device)


# Callers leave the seed at its default more often than not, and tiles come back to the block they share.
# Bits are only ever compared, never written, so threads and models may share them.
_kept_block = lru_cache(KEPT_BLOCKS)(_draw_block)


class ThreadNoise(threading.local):
    """Noise that every thread sets for itself, so that requests on one network do not disturb each other."""

    current: Noise | None = None

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        """Return what the noise of this thread gives."""
        if self.current is None:
            raise RuntimeError("a stochastic network was run without noise")
        return self.current.bits(key, shape)
