"""Measuring a network on rows that it does not train on."""

from collections.abc import Callable
from typing import Any

import torch

from service.network import Network
from worker.data import Batch
from worker.training.tally import Tally

BATCH_ROWS = 1024


def evaluate(network: Network, rows: Batch, tally: Tally, between: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Return the loss and the metrics of a network in prediction mode; `between` is called between batches."""
    with torch.inference_mode():
        for start in range(0, len(rows.y), BATCH_ROWS):
            between()
            batch = rows[start : start + BATCH_ROWS]
            output = network(batch.x)
            tally.add(output, batch.y)
            loss = tally.measure.loss.per_row(output, batch.y).double()
            mean = loss.mean() if batch.weight is None else (loss * batch.weight).mean()
            tally.add_loss(mean.item(), len(batch.y))
    return tally.values()
