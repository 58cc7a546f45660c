"""Random masks as functions of (seed, purpose, step): what dropout of every kind draws from.

`torch.nn.functional.dropout` costs more than the matrix products of a small network, because of how
it draws Bernoulli numbers. Here masks come from `random_` 64-bit words read as 16-bit integers, a
fifth of the cost; the rate is rounded to 1/65536 and the scale is exact for the rounded rate. What is
left for small layers is the cost of beginning to draw, which many steps share.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from service.randomness import generator

STEPS = 65536
TURNS_AT_ONCE = 64
"""Most batches whose values are drawn in one go."""
VALUES_AT_ONCE = 1 << 18
"""Most values drawn in one go for several batches: as masks they take 1 MiB."""


def bits16(shape: tuple[int, ...], source: torch.Generator) -> Tensor:
    """Return uniform int16 values of `shape` in [-32768, 32767]."""
    count = prod(shape)
    words = torch.empty((count + 3) // 4, dtype=torch.int64, device=source.device)
    # `random_()` without bounds draws 63 bits; the full range needs the bounds said.
    words.random_(-(2**63), None, generator=source)
    return words.view(torch.int16)[:count].view(shape)


def uniforms(bits: Tensor) -> Tensor:
    """Return float64 numbers in (0, 1): the middle of each of 65,536 equal shares of probability."""
    return (bits.to(torch.float64) + (STEPS // 2 + 0.5)) / STEPS


def keep_mask(bits: Tensor, rate: float) -> Tensor:
    """Return a float32 mask of `bits`' shape: 0 with probability `rate`, else 1 / (1 - rate)."""
    # Compared straight into float32: one pass over memory less than a mask of booleans that is then converted.
    mask = torch.empty(bits.shape, dtype=torch.float32, device=bits.device)
    return torch.ge(bits, least_kept(rate), out=mask).mul_(keep_scale(rate))


def keep_scale(rate: float) -> float:
    """Return what kept values are multiplied by: 1 / (1 - rate), exact for the rate rounded to 1/65536."""
    return STEPS / (STEPS - _threshold(rate))


def keep_masks(bits: Tensor, rates: Sequence[float]) -> Tensor:
    """Return `keep_mask` of [K, ...] where each of the K has a rate of its own."""
    shape = (-1, *[1] * (bits.ndim - 1))
    least = [least_kept(rate) for rate in rates]
    mask = torch.empty(bits.shape, dtype=torch.float32, device=bits.device)
    torch.ge(bits, torch.tensor(least, dtype=torch.int16, device=bits.device).view(shape), out=mask)
    return mask.mul_(torch.tensor([keep_scale(rate) for rate in rates], device=bits.device).view(shape))


def least_kept(rate: float) -> int:
    """Return the smallest of the int16 values that keep a unit."""
    return _threshold(rate) - STEPS // 2


def _threshold(rate: float) -> int:
    return min(round(rate * STEPS), STEPS - 1)


class Noise:
    """Where the stochastic layers of a network get their random numbers from."""

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        """Return uniform int16 values of `shape` (batch first) for the layer numbered `key`.

        Where all rows share one draw the batch may come as 1: whoever uses the values must let them broadcast.
        Nobody may write into them.
        """
        raise NotImplementedError

    def mask(self, key: int, shape: tuple[int, ...], rate: float) -> Tensor:
        """Return `keep_mask` of these bits."""
        return keep_mask(self.bits(key, shape), rate)

    def thinned(self, x: Tensor, key: int, rate: float) -> Tensor:
        """Return `x` with the mask of its shape laid on."""
        return x * self.mask(key, tuple(x.shape), rate).to(x.dtype)

    def uniforms(self, key: int, shape: tuple[int, ...]) -> Tensor:
        """Return numbers uniform in (0, 1), of `shape` or to broadcast to it."""
        return uniforms(self.bits(key, shape))

    def normals(self, key: int, shape: tuple[int, ...]) -> Tensor:
        """Return numbers of mean 0 and deviation 1, normally distributed, of `shape` or to broadcast to it."""
        found: Tensor = torch.special.ndtri(self.uniforms(key, shape))
        return found


class _Drawn(NamedTuple):
    """The values of some batches one after the other, and the number of the first of them."""

    first: int
    values: tuple[Tensor, ...]


class StepNoise(Noise):
    """Noise of one training step: a function of (seed, step, part, layer); a part is one of the step's batches.

    The values of `turns_at_once` batches are drawn together when the first of them is asked for, whichever that is:
    a run that goes on in the middle of such a block draws the same block. `parts` is how many batches a step may have.
    """

    def __init__(self, seed: int, step: int, device: torch.device, part: int = 0, parts: int = 1) -> None:
        self.seed, self.step, self.device, self.part, self.parts = seed, step, device, part, parts
        self._drawn: dict[tuple[int, tuple[int, ...], float | None], _Drawn] = {}

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        """Return bits that every row of the batch has for itself."""
        return self._of_turn(key, shape, None)

    def mask(self, key: int, shape: tuple[int, ...], rate: float) -> Tensor:
        """Return a mask that every row of the batch has for itself."""
        return self._of_turn(key, shape, rate)

    def _of_turn(self, key: int, shape: tuple[int, ...], rate: float | None) -> Tensor:
        turn = self.step * self.parts + self.part
        drawn = self._drawn.get((key, shape, rate))
        if drawn is not None and 0 <= turn - drawn.first < len(drawn.values):
            return drawn.values[turn - drawn.first]
        together = turns_at_once(shape)
        block, place = divmod(turn, together)
        bits = bits_of_block(self.seed, block, key, shape, self.device)
        values = (bits if rate is None else keep_mask(bits, rate)).unbind()
        self._drawn[key, shape, rate] = _Drawn(block * together, values)
        return values[place]


def bits_of_block(seed: int, block: int, key: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return what layer `key` draws in a block of turns, int16 [turns at once, *shape]."""
    # The size is part of the seed: else a short last batch would share its values with a neighbour.
    return bits16((turns_at_once(shape), *shape), generator(seed, "dropout", block, key, prod(shape), device=device))


def turns_at_once(shape: tuple[int, ...]) -> int:
    """Return how many batches draw their values of `shape` together."""
    return max(1, min(TURNS_AT_ONCE, VALUES_AT_ONCE // max(1, prod(shape))))


class StochasticModule(nn.Module):
    """A module that is the identity unless it is given noise, whatever `training` says."""

    noise: Noise | None = None
    key: int = 0


def set_noise(network: nn.Module, noise: Noise | None) -> None:
    """Give every stochastic module of `network` its noise, or take it away."""
    for module in network.modules():
        if isinstance(module, StochasticModule):
            module.noise = noise


def number_stochastic(network: nn.Module) -> int:
    """Number the stochastic modules in the order of the network, and return how many there are."""
    count = 0
    for module in network.modules():
        if isinstance(module, StochasticModule):
            module.key = count
            count += 1
    return count
