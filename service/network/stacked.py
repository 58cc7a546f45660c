"""Networks of one shape as one: every weight is stacked, and one pass runs all of them.

Shape letters: K members, R rows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.func import functional_call

from service.blocks.noise import Noise, set_noise
from service.errors import CorruptBlob
from service.network.modules import Network
from service.network.products import StackedProducts

Of = Callable[[Network, Tensor], Any]
"""What a pass does with one member and its rows: gives tensors, or a tuple of them."""


class StackedNetwork:
    """K networks whose weights and statistics are those of `network`, each [K, ...].

    Whatever belongs to one member, a row of its own weights, its masks, its statistics, is never mixed with that of
    another: a member that is not a number any more leaves the others as they are. A pass puts the members' weights in
    the places of the stacked ones while it lasts, so that only one thread may use a stacked network at a time.
    """

    def __init__(self, network: Network, tensors: Mapping[str, Tensor]) -> None:
        self.network = network
        self.count = next(iter(tensors.values())).shape[0]
        _put(network, tensors)
        self._called = _Called(network)
        self._noise = MemberNoise()

    def set_noise(self, noise: Noise | None) -> None:
        """Have stochastic layers draw from a noise that gives [K, ...], or give none of them any."""
        self._noise.source = noise
        set_noise(self.network, None if noise is None else self._noise)

    def run(self, of: Of, x: Tensor, shared: bool = False) -> Any:
        """Return what `of` gives for every member, [K, ...], on rows [K, R, ...] or, `shared`, on the same [R, ...]."""
        members = torch.arange(self.count, device=x.device)

        def one(member: Tensor, weights: Mapping[str, Tensor], rows: Tensor) -> Any:
            self._noise.member = member
            return functional_call(self._called, dict(weights), (of, rows))

        weights = {f"network.{name}": tensor for name, tensor in self._tensors()}
        # Noise is drawn for all members alike, by generators of its own.
        whole = torch.vmap(one, in_dims=(0, 0, None if shared else 0), randomness="same")
        with StackedProducts():
            return whole(members, weights, x)

    def _tensors(self) -> list[tuple[str, Tensor]]:
        return [*self.network.named_parameters(), *self.network.named_buffers()]


class MemberNoise(Noise):
    """What the noise of all members gives, as one member sees it inside of a pass."""

    source: Noise | None = None
    member: Tensor

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        """Return the bits of this member."""
        assert self.source is not None
        return _seen_by(self.member, self.source.bits(key, shape))

    def mask(self, key: int, shape: tuple[int, ...], rate: float) -> Tensor:
        """Return the mask of this member."""
        assert self.source is not None
        return _seen_by(self.member, self.source.mask(key, shape, rate))


def stacked_weights(network: Network, seeds: Sequence[int], start: Callable[[Network], object]) -> dict[str, Tensor]:
    """Return the first weights of one network for every seed, [K, ...] by name, on the CPU.

    `network` may be on the meta device; `start` gives it, in place, what its weights start from besides chance.
    """
    network.to_empty(device="cpu")
    found: dict[str, Tensor] = {}
    for place, seed in enumerate(seeds):
        network.initialize(seed)
        start(network)
        for name, value in network.state_dict().items():
            if name not in found:
                found[name] = torch.empty(len(seeds), *value.shape, dtype=value.dtype)
            found[name][place].copy_(value)
    return found


def unpacked_weights(network: Network, data: bytes, members: int) -> dict[str, Tensor]:
    """Return the stacked weights of so many members, of what `network` is built like, from their safetensors.

    Raises:
        CorruptBlob: The bytes are no safetensors, or their names or shapes are not those of such members.
    """
    try:
        found = safetensors.torch.load(data)
    except SafetensorError as error:
        raise CorruptBlob(f"the weights cannot be read: {error}") from error
    wanted = {name: (members, *value.shape) for name, value in network.state_dict().items()}
    if wanted != {name: tuple(value.shape) for name, value in found.items()}:
        raise CorruptBlob(f"the weights do not fit {members} networks of this shape")
    return found


def _put(network: Network, tensors: Mapping[str, Tensor]) -> None:
    """Put stacked tensors in the places of a network's own."""
    for name, parameter in list(network.named_parameters()):
        owner, _, own = name.rpartition(".")
        stacked = nn.Parameter(tensors[name], requires_grad=parameter.requires_grad)
        setattr(network.get_submodule(owner), own, stacked)
    for name, _ in list(network.named_buffers()):
        owner, _, own = name.rpartition(".")
        setattr(network.get_submodule(owner), own, tensors[name])


class _Called(nn.Module):
    """A network of which any part may be called with other weights than its own."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, of: Of, x: Tensor) -> Any:
        """Return what `of` makes of the network."""
        return of(self.network, x)


class _OfMember(torch.autograd.Function):
    """The part of a stacked tensor that belongs to a member: inside of a pass the stacked tensor itself."""

    @staticmethod
    def forward(member: Tensor, stacked: Tensor) -> Tensor:
        return stacked[member]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: nobody learns noise."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, member: Tensor, stacked: Tensor) -> tuple[Tensor, int]:
        # The same object would be taken for what all members share.
        return stacked.detach(), 0


def _seen_by(member: Tensor, stacked: Tensor) -> Tensor:
    seen: Tensor = _OfMember.apply(member, stacked)  # type: ignore[no-untyped-call]  # torch gives it no types
    return seen
