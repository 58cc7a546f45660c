"""Measuring a network on rows that it does not train on."""

from collections.abc import Callable

import torch
from torch import Tensor

from service.network import Network
from worker.training.tally import Tally

BATCH_ROWS = 1024


def evaluate(
    network: Network, x: Tensor, y: Tensor, tally: Tally, between: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Return the loss and the metrics of a network in prediction mode; `between` is called between batches.

    Shape: `x` [rows, *input], `y` [rows] or [rows, columns].
    """
    with torch.inference_mode():
        for start in range(0, len(x), BATCH_ROWS):
            between()
            target = y[start : start + BATCH_ROWS]
            output = network(x[start : start + BATCH_ROWS])
            tally.add(output, target)
            tally.add_loss(tally.loss.per_row(output, target).double().mean().item(), len(target))
    return tally.values()
