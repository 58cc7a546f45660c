"""Calibration at the end of a run: the network's samples on validation rows, as predictions draw them."""

from collections.abc import Callable

import torch
from torch import Tensor

from service.randomness import permutation
from service.spec import JobSpec
from service.uncertainty.calibration import Calibration, calibrate
from service.uncertainty.monte_carlo import MonteCarlo
from worker.data import TrainingData

SAMPLES, SEED = 50, 0
"""Those of a request that names neither: for it, what conformal sets promise holds to the letter."""
MOST_SAMPLES = 512
"""Of all members of an ensemble."""
MOST_ROWS = 4_096
MOST_VALUES = 4_000_000
"""Rows x samples x outputs; of more validation rows so many are drawn."""


def calibration_of(
    monte_carlo: MonteCarlo, spec: JobSpec, data: TrainingData, tile_bytes: int, between: Callable[[], None]
) -> Calibration | None:
    """Return what the validation rows teach of a model; None where there are none.

    `between` is called now and then. A function of the weights, the rows and the seed.
    """
    if not len(data.validation):
        return None
    # Of many members as many samples as leave rows enough: the mean of so many is not far from that of more.
    each = max(1, min(SAMPLES, MOST_SAMPLES // monte_carlo.members))
    samples = each if monte_carlo.stochastic_layers else 0
    most = max(1, min(MOST_ROWS, MOST_VALUES // (max(samples, 1) * monte_carlo.members * data.outputs)))
    rows = _some(data.validation.cpu(), most, spec.training.seed).to(data.x.device)
    outputs = _outputs(monte_carlo, data.x[rows], samples, tile_bytes, between)
    return calibrate(spec.loss, data.target, outputs, data.y[rows].cpu(), samples, SEED)


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
