"""Token ids on their way into an embedding: whole numbers that its table has a row for."""

import torch
from torch import Tensor

from service.blocks.embedding import TokenEmbedding
from service.network.modules import Network


def token_count(network: Network) -> int | None:
    """Return how many token ids every embedding of a network has a row for; None: it has no embedding."""
    return min((len(module.table) for module in network.modules() if isinstance(module, TokenEmbedding)), default=None)


def foreign_token(network: Network, x: Tensor) -> tuple[int, float, int] | None:
    """Return row and value of the first number that is no token id, and how many ids there are; None: all are.

    Shape: `x` [rows, length]. A network without an embedding takes any.
    """
    tokens = token_count(network)
    if tokens is None or not len(x):
        return None
    strange = (x < 0) | (x >= tokens) | (x != torch.floor(x))
    if not bool(strange.any()):
        return None
    row = int(strange.flatten(1).any(1).int().argmax())
    return row, float(x[row].flatten()[strange[row].flatten()][0]), tokens
