"""Calibration at the end of a run: the network's samples on validation rows, as predictions draw them."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from service.randomness import permutation
from service.spec import JobSpec
from service.uncertainty.calibration import Calibration, calibrate
from service.uncertainty.monte_carlo import MonteCarlo
from worker.rows import TrainingData

SAMPLES, SEED = 50, 0
"""Those of a request that names neither: for it, what conformal sets promise holds to the letter."""
MOST_OF_ALL = 512
"""Samples of all members of an ensemble."""
MOST_ROWS = 4_096
MOST_SAMPLES = 400
"""Samples that are fitted on where rows are few, within the work of 50 on the most rows. With 50 on a hundred rows the
precision of the noise of a regression came out 6 to 12 % too small, with 200 it was right to 4 %."""
MOST_VALUES = 4_000_000
"""Rows x samples x outputs; of more validation rows so many are drawn."""
INPUT_BYTES = 8 * 1024 * 1024
"""What the rows that are predicted at the same time may take."""


def calibration_of(
    monte_carlo: MonteCarlo, spec: JobSpec, data: TrainingData, tile_bytes: int, between: Callable[[], None]
) -> Calibration | None:
    """Return what the validation rows teach of a model; None where there are none.

    `between` is called now and then. A function of the weights, the rows and the seed.
    """
    if not len(data.validation):
        return None
    # Of many members as many samples as leave rows enough: the mean of so many is not far from that of more.
    members = monte_carlo.members
    each = max(1, min(SAMPLES, MOST_OF_ALL // members))
    samples = each if monte_carlo.stochastic_layers else 0
    most = max(1, min(MOST_ROWS, MOST_VALUES // (max(samples, 1) * members * data.outputs)))
    rows = _some(data.validation.cpu(), most, spec.training.seed)
    drawn = samples and max(samples, min(MOST_SAMPLES // members, most * samples // len(rows)))
    found = [
        (_outputs(monte_carlo, batch.x, drawn, tile_bytes, between), batch.y.cpu())
        for batch in data.pieces(rows.to(data.train.device), max(1, INPUT_BYTES // (4 * prod(data.input_shape))))
    ]
    outputs, y = (torch.cat(parts, dim=dim) for parts, dim in zip(zip(*found, strict=True), (1, 0), strict=True))
    return calibrate(spec.loss, data.target, outputs, y, samples, SEED)


def _some(rows: Tensor, most: int, seed: int) -> Tensor:
    if len(rows) <= most:
        return rows
    return rows[permutation(len(rows), seed, "calibrate")[:most].sort().values]


def _outputs(monte_carlo: MonteCarlo, x: Tensor, samples: int, tile_bytes: int, between: Callable[[], None]) -> Tensor:
    """Return the outputs of every sample on every row, [T, R, O] on the CPU; without samples of one bare pass."""
    chunks = []
    with torch.inference_mode():
        for chunk in monte_carlo.chunks(x, tile_bytes):
            if samples:
                parts = []
                for part in monte_carlo.draws(chunk, samples, SEED):
                    between()
                    parts.append(part.cpu())
                chunks.append(torch.cat(parts))
            else:
                between()
                chunks.append(monte_carlo.outputs(chunk).cpu())
    return torch.cat(chunks, dim=1)
