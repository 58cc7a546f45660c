"""The noise of Monte-Carlo prediction: a sample is one thinned network, the same for every row.

The mask of sample t depends on the seed, the layer and t, and on nothing else: not on how many samples
are asked for, not on the rows that share the request, not on how the work is cut into tiles. Philox gives
that for nothing: its numbers are a function of a key (seed and layer) and a counter (where the sample is).

Reference: Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3".
"""

import threading
from functools import lru_cache
from math import prod

import numpy as np
import torch
from torch import Tensor

from service.blocks.noise import Noise, keep_mask
from service.randomness import derive

COUNT_WORDS = 4
"""64-bit words that Philox makes of one count."""
COUNT_VALUES = COUNT_WORDS * 4
KEPT_VALUES = 65_536
KEPT_DRAWS = 256
"""At two bytes a value, at most 32 MiB are kept."""
KEPT_MASKS = 128
"""At four bytes a value, at most 32 MiB are kept."""


class SampleNoise(Noise):
    """Noise of samples `first` to `first + count`, for a batch that holds its rows sample by sample."""

    def __init__(self, seed: int, first: int, count: int, device: torch.device) -> None:
        self.seed, self.first, self.count, self.device = seed, first, count, device

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        """Return the bits of layer `key`, [count * rows, ...]; [1, ...] to broadcast when the batch is one sample."""
        inner = shape[1:]
        draw = _kept if self.count * prod(inner) <= KEPT_VALUES else _draw
        return self._for_rows(draw(self.seed, key, self.first, self.count, inner, self.device), shape)

    def mask(self, key: int, shape: tuple[int, ...], rate: float) -> Tensor:
        """Return `keep_mask` of these bits, made for the samples and not for every row of each."""
        return self._for_rows(self._of_samples(key, shape[1:], rate), shape)

    def thinned(self, x: Tensor, key: int, rate: float) -> Tensor:
        """Return `x`, [count * rows, ...], with the mask of each sample laid on all rows of it."""
        mask = self._of_samples(key, tuple(x.shape[1:]), rate).to(x.dtype)
        if x.shape[0] == self.count:
            return x * mask
        return (x.view(self.count, -1, *x.shape[1:]) * mask.unsqueeze(1)).flatten(0, 1)

    def _of_samples(self, key: int, inner: tuple[int, ...], rate: float) -> Tensor:
        """Return the mask of each sample, [count, ...]."""
        mask = _kept_mask if self.count * prod(inner) <= KEPT_VALUES else _mask
        return mask(rate, self.seed, key, self.first, self.count, inner, self.device)

    def _for_rows(self, drawn: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return for all rows, [count * rows, ...], what holds for the samples, [count, ...]."""
        rows = shape[0] // self.count
        if rows == 1 or self.count == 1:
            return drawn
        return drawn.unsqueeze(1).expand(self.count, rows, *shape[1:]).reshape(shape)


def _draw(seed: int, key: int, first: int, count: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    # NumPy promises this stream from version to version, and a GPU gets the samples that a processor has.
    values = prod(shape)
    counts = -(-values // COUNT_VALUES)
    source = np.random.Philox(key=derive(seed, "predict", key), counter=first * counts)
    words = source.random_raw(count * counts * COUNT_WORDS)
    bits = words.view(np.int16).reshape(count, counts * COUNT_VALUES)[:, :values]
    return torch.from_numpy(bits.reshape(count, *shape)).to(device)


# Callers leave the seed at its default more often than not, and every chunk of rows needs the same masks.
# Bits are only ever compared, never written, so threads and models may share them.
_kept = lru_cache(KEPT_DRAWS)(_draw)


def _mask(
    rate: float, seed: int, key: int, first: int, count: int, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    return keep_mask(_draw(seed, key, first, count, shape, device), rate)


# As of bits: whoever gets a mask multiplies with it and leaves it as it is.
_kept_mask = lru_cache(KEPT_MASKS)(_mask)


class ThreadNoise(threading.local, Noise):
    """Noise that every thread sets for itself, so that requests on one network do not disturb each other."""

    current: Noise | None = None

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        """Return what the noise of this thread gives."""
        return self._own.bits(key, shape)

    def mask(self, key: int, shape: tuple[int, ...], rate: float) -> Tensor:
        """Return what the noise of this thread gives."""
        return self._own.mask(key, shape, rate)

    def thinned(self, x: Tensor, key: int, rate: float) -> Tensor:
        """Return what the noise of this thread gives."""
        return self._own.thinned(x, key, rate)

    @property
    def _own(self) -> Noise:
        if self.current is None:
            raise RuntimeError("a stochastic network was run without noise")
        return self.current
