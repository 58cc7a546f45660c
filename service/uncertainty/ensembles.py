"""Deep ensembles: networks of one shape that were trained from different seeds, asked together.

A sample is one member, thinned by a mask of its own where layers are stochastic: of T draws of K members number
t * K + k is draw t of member k. Without noise there is one sample a member, the network as it is. So any first samples
hold all members equally often. Members run one after the other: a pass over stacked weights by `torch.vmap` took seven
times as long for one row through five networks, four times for 64 rows and 20 draws.

Shape letters: K members, T draws of each, S samples of a tile, R rows, O outputs.

Reference: Lakshminarayanan, Pritzel and Blundell 2017, "Simple and Scalable Predictive Uncertainty Estimation using
Deep Ensembles".
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from service.network import Network
from service.randomness import derive
from service.uncertainty.monte_carlo import Chunk, MonteCarlo


class Ensemble(MonteCarlo):
    """K trained networks on stacked weights; threads may share it."""

    def __init__(self, network: Network, tensors: Mapping[str, Tensor]) -> None:
        """Take in what `network` is built like, on the meta device, and the weights of its members, [K, ...]."""
        count = next(iter(tensors.values())).shape[0]
        self._each = [MonteCarlo(_member(network, tensors, place)) for place in range(count)]
        first = self._each[0]
        self.network, self.device, self.row_bytes = first.network, first.device, first.row_bytes

    @property
    def members(self) -> int:
        """Trained networks that every row is run through."""
        return len(self._each)

    @property
    def weights_bytes(self) -> int:
        """Bytes of the weights of all members."""
        return sum(member.weights_bytes for member in self._each)

    def tile(self, tile_bytes: int) -> int:
        """Return how many rows x draws run at once; what reaches the stochastic layers of all members fits, too."""
        return max(1, min(super().tile(tile_bytes), tile_bytes // (self.row_bytes * self.members)))

    def prefix(self, x: Tensor) -> Tensor:
        """Return what reaches the first stochastic layer of every member, [R, K, ...]."""
        first, *others = (member.prefix(x) for member in self._each)
        if first is x:
            return x.unsqueeze(1).expand(-1, self.members, *x.shape[1:])
        return torch.stack([first, *others], dim=1)

    def outputs(self, chunk: Chunk) -> Tensor:
        """Return the outputs of every member without noise, [K, R, O]."""
        return torch.cat([member.outputs(own) for member, own in self._parts(chunk)])

    def members_on(self, x: Tensor, shared: bool) -> Tensor:
        """Return the outputs of every member without noise, [K, R, O], on rows [K, R, ...] or on the same ones."""
        rows = [x] * self.members if shared else x
        return torch.stack([member.network(own) for member, own in zip(self._each, rows, strict=True)])

    def draws(self, chunk: Chunk, samples: int, seed: int, start: int = 0) -> Iterator[Tensor]:
        """Yield the outputs of draws `start` to T of every member, [S, R, O] at a time."""
        seeds = [derive(seed, "member", place) for place in range(self.members)]
        tiles = [
            member.draws(own, samples, s, start) for s, (member, own) in zip(seeds, self._parts(chunk), strict=True)
        ]
        for parts in zip(*tiles, strict=True):
            yield torch.stack(parts, dim=1).flatten(0, 1)

    def _parts(self, chunk: Chunk) -> Iterator[tuple[MonteCarlo, Chunk]]:
        """Yield every member and what there is of the chunk for it."""
        return ((m, replace(chunk, hidden=own)) for m, own in zip(self._each, chunk.hidden.unbind(1), strict=True))


def _member(network: Network, tensors: Mapping[str, Tensor], place: int) -> Network:
    """Return a network of the same build whose weights are a member's, as a look at the stacked ones."""
    own = copy.deepcopy(network)
    own.load_state_dict({name: value[place] for name, value in tensors.items()}, assign=True)
    return own
