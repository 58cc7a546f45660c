"""The noise of Monte-Carlo prediction: a sample is one thinned network, the same for every row.

The mask of sample t depends on the seed, the layer and t, and on nothing else: not on how many samples
are asked for, not on the rows that share the request, not on how the work is cut into tiles. A congruential
generator gives that for next to nothing: seed and layer are its state, and it leaps to where a sample begins.

Reference: O'Neill 2014, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for Random
Number Generation", section 4.3.1 (leaps); the output function is DXSM, as in NumPy.
"""

import itertools
import threading
from collections.abc import Iterator
from functools import lru_cache
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.blocks.noise import Noise, keep_mask, keep_scale, least_kept
from service.randomness import derive

WORD_VALUES = 4
"""Values of a 64-bit word."""
KEPT_VALUES = 65_536
KEPT_DRAWS = 256
"""At two bytes a value, at most 32 MiB are kept."""
KEPT_MASKS = 128
"""At four bytes a value, at most 32 MiB are kept."""
SEEDS_SEEN = 256
"""Seeds of late, of which the next draws are kept."""


class SampleNoise(Noise):
    """Noise of samples `first` to `first + count`, for a batch that holds its rows sample by sample."""

    def __init__(self, seed: int, first: int, count: int, device: torch.device) -> None:
        self.seed, self.first, self.count, self.device = seed, first, count, device
        # To keep what nobody asks for again takes longer than to draw it.
        self._again = next(_times_seen(seed)) > 0

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        """Return the bits of layer `key`, [count * rows, ...]; [1, ...] to broadcast when the batch is one sample."""
        inner = shape[1:]
        draw = _kept if self._keeps(inner) else _draw
        return self._for_rows(draw(self.seed, key, self.first, self.count, inner, self.device), shape)

    def mask(self, key: int, shape: tuple[int, ...], rate: float) -> Tensor:
        """Return `keep_mask` of these bits, made for the samples and not for every row of each."""
        return self._for_rows(self._of_samples(key, shape[1:], rate), shape)

    def thinned(self, x: Tensor, key: int, rate: float) -> Tensor:
        """Return `x`, [count * rows, ...], with the mask of each sample laid on all rows of it."""
        inner = tuple(x.shape[1:])
        mask = self._of_samples(key, inner, rate).to(x.dtype)
        if x.shape[0] == self.count:
            # Nobody else holds a mask that is not kept, and memory that was just written is near.
            return x * mask if self._keeps(inner) else mask.mul_(x)
        return (x.view(self.count, -1, *x.shape[1:]) * mask.unsqueeze(1)).flatten(0, 1)

    def _of_samples(self, key: int, inner: tuple[int, ...], rate: float) -> Tensor:
        """Return the mask of each sample, [count, ...]."""
        mask = _kept_mask if self._keeps(inner) else _mask
        return mask(rate, self.seed, key, self.first, self.count, inner, self.device)

    def _keeps(self, inner: tuple[int, ...]) -> bool:
        return self._again and self.count * prod(inner) <= KEPT_VALUES

    def _for_rows(self, drawn: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return for all rows, [count * rows, ...], what holds for the samples, [count, ...]."""
        rows = shape[0] // self.count
        if rows == 1 or self.count == 1:
            return drawn
        return drawn.unsqueeze(1).expand(self.count, rows, *shape[1:]).reshape(shape)


@lru_cache(SEEDS_SEEN)
def _times_seen(seed: int) -> Iterator[int]:
    return itertools.count()


class _Source(threading.local):
    """A generator of every thread, put where its numbers are wanted: to make one takes longer than to draw."""

    def __init__(self) -> None:
        self.generator = np.random.PCG64DXSM(0)

    def words(self, key: int, first: int, count: int) -> NDArray[np.uint64]:
        """Return words number `first` to `first + count` of the sequence of a key of 63 bits."""
        self.generator.state = {
            "bit_generator": "PCG64DXSM",
            "state": {"state": key << 64 | key, "inc": key << 1 | 1},
            "has_uint32": 0,
            "uinteger": 0,
        }
        if first:
            self.generator.advance(first)
        return self.generator.random_raw(count)


_source = _Source()


def _values(seed: int, key: int, first: int, count: int, shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Return the values of samples of `shape`, one behind the other."""
    # NumPy promises this stream from version to version, and a GPU gets the samples that a processor has.
    values = prod(shape)
    words = -(-values // WORD_VALUES)
    drawn = _source.words(derive(seed, "predict", key), first * words, count * words).view(np.int16)
    if values == words * WORD_VALUES:
        return drawn
    return drawn.reshape(count, -1)[:, :values].ravel()


def _draw(seed: int, key: int, first: int, count: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.from_numpy(_values(seed, key, first, count, shape)).view(count, *shape).to(device)


# Callers leave the seed at its default more often than not, and every chunk of rows needs the same masks.
# Bits are only ever compared, never written, so threads and models may share them.
_kept = lru_cache(KEPT_DRAWS)(_draw)


def _mask(
    rate: float, seed: int, key: int, first: int, count: int, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    if device.type != "cpu":
        return keep_mask(_draw(seed, key, first, count, shape, device), rate)
    # `keep_mask` again: of masks that are drawn for one request NumPy's way takes half the time.
    least, scale = _kept_from(rate)
    kept = _values(seed, key, first, count, shape) >= least
    return torch.from_numpy(np.multiply(kept, scale)).view(count, *shape)


@lru_cache
def _kept_from(rate: float) -> tuple[np.int16, np.float32]:
    return np.int16(least_kept(rate)), np.float32(keep_scale(rate))


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
