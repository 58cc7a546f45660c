"""The weights of a network: their memory, their first values and their bytes."""

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from service.errors import CorruptBlob
from service.network.modules import Network


def materialize(network: Network, seed: int) -> Network:
    """Give a network built on the meta device memory on the CPU and its first weights; returns it."""
    network.to_empty(device="cpu")
    network.initialize(seed)
    return network


def save_weights(network: nn.Module) -> bytes:
    """Return every weight and buffer as safetensors; the same weights give the same bytes."""
    return safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()})


def load_weights(network: nn.Module, data: bytes) -> None:
    """Put weights from `save_weights` into a network, in place; one on the meta device gets them as its memory.

    Raises:
        CorruptBlob: The bytes are no safetensors, or their names or shapes are not those of this network.
    """
    try:
        weights = safetensors.torch.load(data)
        bare = any(parameter.is_meta for parameter in network.parameters())
        network.load_state_dict(weights, strict=True, assign=bare)
    except (SafetensorError, RuntimeError) as error:
        raise CorruptBlob(f"the weights do not fit the network: {str(error).splitlines()[0]}") from error
