"""How images lie in memory while a network computes with them."""

import torch
from torch import Tensor, nn

from service.network import Network


def laid_out(network: Network, x: Tensor, channels_last: bool) -> Tensor:
    """Return images with their channels last in memory where kernels look at all of a pixel at once."""
    convolves = x.ndim == 4 and channels_last and any(isinstance(m, nn.Conv2d) for m in network.modules())
    # Not `contiguous`, which finds nothing to do where there is one channel.
    return x.to(memory_format=torch.channels_last) if convolves else x
