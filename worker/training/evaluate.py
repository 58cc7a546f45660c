"""Measuring a network on rows that it does not train on."""

from collections.abc import Callable, Iterable
from math import prod
from typing import Any

import torch

from service.network import Network
from worker.rows import Batch
from worker.training.layout import laid_out
from worker.training.tally import Tally

MOST_ROWS = 1024
ROOM = 16 * 1024 * 1024
"""Bytes that the inputs and outputs of the widest layer may take."""


def rows_at_once(network: Network, rows_of_batch: int) -> int:
    """Return how many rows are measured at the same time: in the room that training takes, or a little more."""
    values = max(prod(record.input_shape) + 2 * prod(record.output_shape) for record in network.records)
    inside = max(int(getattr(module, "row_values", 0)) for module in network.modules())
    return min(MOST_ROWS, max(rows_of_batch, ROOM // (max(values, inside) * torch.float32.itemsize), 1))


def evaluate(
    network: Network, batches: Iterable[Batch], tally: Tally, between: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Return the loss and the metrics of a network in prediction mode; `between` is called between batches."""
    with torch.inference_mode():
        for batch in batches:
            between()
            output = network(laid_out(network, batch.x, batch.x.is_cpu))
            tally.add(output, batch.y)
            loss = tally.measure.loss.per_row(output, batch.y).double()
            mean = loss.mean() if batch.weight is None else (loss * batch.weight).mean()
            tally.add_loss(mean.item(), len(batch.y))
    return tally.values()
