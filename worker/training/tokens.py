"""Whether the rows of a data set are token ids, where a network takes such."""

import torch

from service.errors import InvalidSpec, Problem
from service.network import Network
from service.network.tokens import foreign_token, token_count
from worker.rows import TrainingData

ROWS_AT_ONCE = 4096


def check_tokens(network: Network, data: TrainingData) -> None:
    """See that an embedding has a row for every number of the data.

    Raises:
        InvalidSpec: It has none for one of them; the message says where that stands.
    """
    if token_count(network) is None:
        return
    every = torch.arange(len(data.x), device=data.train.device)
    for number, batch in enumerate(data.pieces(every, ROWS_AT_ONCE)):
        if (found := foreign_token(network, batch.x)) is not None:
            row, value, tokens = found
            place = number * ROWS_AT_ONCE + row
            message = f"row {place} holds {value:g}, which is no token id: whole numbers from 0 to {tokens - 1}"
            raise InvalidSpec([Problem("network.layers[0].input_dim", message, tokens)])
