"""Deep ensembles: networks of one shape that were trained from different seeds, run together.

A sample is one member, thinned by a mask of its own where layers are stochastic: of T samples of K members number
t * K + k is draw t of member k, and has the mask of a lone network's sample of this number. Without noise there is one
sample a member, the network as it is. So any first samples hold all members equally often.

Shape letters: K members, T draws of each, S samples of a tile, R rows, O outputs.

Reference: Lakshminarayanan, Pritzel and Blundell 2017, "Simple and Scalable Predictive Uncertainty Estimation using
Deep Ensembles".
"""

import copy
import threading
from collections.abc import Iterator, Mapping
from itertools import chain

import torch
from torch import Tensor, nn

from service.blocks.noise import Noise
from service.network import Network
from service.network.stacked import StackedNetwork
from service.uncertainty.monte_carlo import Chunk, MonteCarlo, row_bytes
from service.uncertainty.noise import SampleNoise


class Ensemble(MonteCarlo):
    """K trained networks with stacked weights; threads may share it."""

    def __init__(self, network: Network, tensors: Mapping[str, Tensor]) -> None:
        """Take in what `network` is built like, on the meta device, and the weights of its members, [K, ...]."""
        self._members = next(iter(tensors.values())).shape[0]
        self._local = threading.local()
        by_turns = any(isinstance(module, nn.RNNBase) for module in network.modules())
        self._original = StackedNetwork(network.eval(), tensors, by_turns)
        self.network = network
        self.device = self._original.device
        self._row_bytes = row_bytes(network)
        if not by_turns and not self._runs():
            self._original.by_turns = True

    @property
    def members(self) -> int:
        """Trained networks that every row is run through."""
        return self._members

    def tile(self, tile_bytes: int) -> int:
        """Return how many rows x draws run at once, through all members, when a tile may take `tile_bytes`."""
        return max(1, super().tile(tile_bytes) // self._members)

    def prefix(self, x: Tensor) -> Tensor:
        """Return what reaches the first stochastic layer of every member, [R, K, ...]."""
        found: Tensor = self._stacked.run(lambda network, rows: network.prefix(rows), x, None, 1)
        return found

    def outputs(self, chunk: Chunk) -> Tensor:
        """Return the outputs of every member without noise, [K, R, O]."""
        found: Tensor = self._stacked.run(lambda network, rows: network.suffix(rows), chunk.hidden, 1)
        return found

    def members_on(self, x: Tensor, rows_in: int | None) -> Tensor:
        """Return the outputs of every member without noise, [K, R, O], on rows of its own along an axis of `x`, or on
        the same rows [R, ...].
        """
        found: Tensor = self._stacked.run(lambda network, rows: network(rows), x.to(self.device), rows_in)
        return found

    def draws(self, chunk: Chunk, samples: int, seed: int, start: int = 0) -> Iterator[Tensor]:
        """Yield the outputs of draws `start` to T of every member, [S, R, O] at a time."""
        size = max(1, min(samples, chunk.tile // len(chunk.hidden)))
        for first in range(start, samples, size):
            yield self._draw(chunk.hidden, first, min(size, samples - first), seed)

    def _draw(self, hidden: Tensor, first: int, count: int, seed: int) -> Tensor:
        """Return the outputs of so many draws of every member, one draw after the other, [T * K, R, O]."""
        rows, members = hidden.shape[:2]
        batch = hidden.unsqueeze(0).expand(count, *hidden.shape).flatten(0, 1)
        stacked = self._stacked
        stacked.set_noise(_DrawsNoise(SampleNoise(seed, first * members, count * members, self.device), members))
        try:
            found: Tensor = stacked.run(lambda network, x: network.suffix(x), batch, 1, 1)  # [T * R, K, O]
        finally:
            stacked.set_noise(None)
        return found.reshape(count, rows, members, -1).transpose(1, 2).flatten(0, 1)

    @property
    def _stacked(self) -> StackedNetwork:
        """The members, on modules of this thread: a pass changes which weights these hold while it lasts."""
        own = getattr(self._local, "stacked", None)
        if own is None:
            network = self._original.network
            shared = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
            twin = copy.deepcopy(network, shared)
            tensors = dict(chain(twin.named_parameters(), twin.named_buffers()))
            own = self._local.stacked = StackedNetwork(twin, tensors, self._original.by_turns)
        return own

    def _runs(self) -> bool:
        """Tell whether the members run as one stack: every layer has to have a form for it."""
        x = torch.zeros(1, *self.network.records[0].input_shape, device=self.device)
        try:
            with torch.inference_mode():
                self._original.run(lambda network, rows: network(rows), x, None)
        except (RuntimeError, NotImplementedError, ValueError):
            return False
        return True


class _DrawsNoise(Noise):
    """Noise of T draws of K members: for a batch of T x R rows of a member, what is its own."""

    def __init__(self, samples: SampleNoise, members: int) -> None:
        self._samples, self._members = samples, members

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        """Return the bits of layer `key`, [K, T * R, ...]; [K, 1, ...] to broadcast where there is one draw."""
        draws = self._samples.count // self._members
        own = self._samples.bits(key, (self._samples.count, *shape[1:]))
        by_member = own.view(draws, self._members, *shape[1:]).transpose(0, 1)
        rows = shape[0] // draws
        if draws == 1 or rows == 1:
            return by_member
        return by_member.unsqueeze(2).expand(-1, -1, rows, *shape[1:]).flatten(1, 2)
