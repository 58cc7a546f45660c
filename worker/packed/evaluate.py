"""Measuring jobs that train together on rows that they do not train on.

Shape letters: K jobs, R rows.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from worker.packed.pack import Predicts
from worker.packed.tally import PackedTally
from worker.rows import Batch

ROWS = 4096
"""Rows x jobs of a batch."""
FEWEST = 32


def evaluate(
    pack: Predicts, part: str, tally: PackedTally, between: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Return loss and metrics of each job in prediction mode on its rows of one part: train, validation or test."""
    variants = pack.variants
    size = max(FEWEST, ROWS // len(variants))
    index = torch.stack([getattr(variant.data, part) for variant in variants])
    with torch.inference_mode():
        for start in range(0, index.shape[1], size):
            between()
            rows = index[:, start : start + size]
            if variants.shares_rows:
                shared = variants.members[0].data.rows(rows[0])
                output = pack.outputs(shared.x, shared=True)
                batch = Batch(*(t.expand(len(variants), *t.shape) for t in shared.parts()))
            else:
                pairs = zip(variants, rows, strict=True)
                parts = zip(*(variant.data.rows(own).parts() for variant, own in pairs), strict=True)
                batch = Batch(*(torch.stack(own) for own in parts))
                output = pack.outputs(batch.x, shared=False)
            tally.add(output, batch.y)
            tally.add_loss(_losses(tally, output, batch), batch.y.shape[1])
    return tally.values()


def _losses(tally: PackedTally, output: Tensor, batch: Batch) -> Tensor:
    """Return the mean loss of each job, [K] in float64 on the CPU."""
    flat = tally.measure.loss.per_row(output.flatten(0, 1), batch.y.flatten(0, 1))
    losses = flat.view(batch.y.shape[:2]).double()
    return (losses if batch.weight is None else losses * batch.weight).mean(1).cpu()
