"""Monte-Carlo dropout: many thinned networks in few passes.

What stands before the first stochastic layer runs once; the rest runs on samples x rows in tiles, so that
memory is bounded whatever is asked for and what a tile touches stays in the processor's cache.

Shape letters: T samples in all, S samples of a tile, R rows, K outputs.

Reference: Gal and Ghahramani 2016, "Dropout as a Bayesian Approximation".
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from math import prod

import torch
from torch import Tensor

from service.blocks.noise import set_noise
from service.network import Network
from service.uncertainty.noise import SampleNoise, ThreadNoise

# Measured on a processor with 2 MiB of second-level cache a core.
CACHE_BYTES = 2 * 1024 * 1024
"""What a tile may touch on a processor: with activations of 50 MiB it took 2.6 times as long."""
FEWEST = 256
"""Rows x samples below which a wide layer reads its weights more than it computes."""
MANY_ROWS = 128
"""Rows from which one sample at a time, with a mask that all rows share, is faster than many."""


@dataclass(frozen=True)
class Chunk:
    """Some rows of a request, and what reaches the first stochastic layer from them."""

    rows: slice
    hidden: Tensor
    tile: int
    """Rows x samples that may run at once."""


class MonteCarlo:
    """A trained network, and its twin on the same weights that draws masks; threads may share it."""

    def __init__(self, network: Network) -> None:
        self.network = network.eval()
        self.device = next(chain(network.parameters(), [torch.empty(0)])).device
        self._noise = ThreadNoise()
        self._twin = _twin(network)
        set_noise(self._twin, self._noise)
        self.row_bytes = _row_bytes(network)

    @property
    def members(self) -> int:
        """Trained networks that every row is run through; each of them is thinned as often as samples are asked for."""
        return 1

    @property
    def stochastic_layers(self) -> list[str]:
        """Names of the layers that draw random numbers."""
        return self.network.stochastic_layers

    @property
    def weights_bytes(self) -> int:
        """Bytes of the weights and statistics."""
        return sum(tensor.nbytes for tensor in chain(self.network.parameters(), self.network.buffers()))

    def tile(self, tile_bytes: int) -> int:
        """Return how many rows x samples run at once when a tile may take `tile_bytes`."""
        limit = tile_bytes // self.row_bytes
        if self.device.type == "cpu":
            limit = min(limit, max(FEWEST, CACHE_BYTES // self.row_bytes))
        return max(1, limit)

    def chunks(self, x: Tensor, tile_bytes: int, most_rows: int | None = None) -> Iterator[Chunk]:
        """Cut [R, *shape] into chunks that fit a tile, and run each up to the first stochastic layer."""
        tile = self.tile(tile_bytes)
        total = x.shape[0]
        count = -(-total // min(tile, most_rows or tile))
        size = -(-total // count)
        for start in range(0, total, size):
            rows = slice(start, min(start + size, total))
            yield Chunk(rows, self.prefix(x[rows].to(self.device)), tile)

    def prefix(self, x: Tensor) -> Tensor:
        """Return what reaches the first stochastic layer."""
        return self.network.prefix(x)

    def outputs(self, chunk: Chunk) -> Tensor:
        """Return the outputs of the whole network without noise, [1, R, K]."""
        return self.network.suffix(chunk.hidden).unsqueeze(0)

    def draws(self, chunk: Chunk, samples: int, seed: int, start: int = 0) -> Iterator[Tensor]:
        """Yield the outputs of thinned networks `start` to T, [S, R, K] at a time."""
        rows = chunk.hidden.shape[0]
        size = 1 if rows >= MANY_ROWS else max(1, min(samples, chunk.tile // rows))
        for first in range(start, samples, size):
            yield self._draw(chunk.hidden, first, min(size, samples - first), seed)

    def samples(self, x: Tensor, samples: int, seed: int, tile_bytes: int) -> Tensor:
        """Return the outputs of T thinned networks on every row, [T, R, K]."""
        with torch.inference_mode():
            return _joined([_joined([*self.draws(chunk, samples, seed)]) for chunk in self.chunks(x, tile_bytes)], 1)

    def _draw(self, hidden: Tensor, first: int, count: int, seed: int) -> Tensor:
        rows = hidden.shape[0]
        batch = hidden.unsqueeze(0).expand(count, *hidden.shape).flatten(0, 1)
        self._noise.current = SampleNoise(seed, first, count, self.device)
        try:
            outputs = self._twin.suffix(batch)
            return outputs.view(count, rows, *outputs.shape[1:])
        finally:
            self._noise.current = None


def _joined(parts: list[Tensor], dim: int = 0) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _twin(network: Network) -> Network:
    """Return a copy of the modules that shares every weight and buffer."""
    shared = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
    return copy.deepcopy(network, shared)


def _row_bytes(network: Network) -> int:
    """Return what one row of one sample takes in the widest layer while it runs."""
    # A layer holds its input, its output, and the bits and the mask of its output.
    widest = max(prod(record.input_shape) + 3 * prod(record.output_shape) for record in network.records)
    # Attention makes more of its input than it gives.
    inside = max(getattr(module, "row_values", 0) for module in network.modules())
    return max(widest, inside) * torch.float32.itemsize
