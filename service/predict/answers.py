"""From the outputs of a network to what a client reads: one entry a row."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from service.errors import InvalidRows, Problem
from service.uncertainty.samples import ClassUncertainty, ValueUncertainty

Uncertainty = TypeVar("Uncertainty", ClassUncertainty, ValueUncertainty, covariant=True)

SAMPLE_COPIES = 8
"""Samples that are held are held as they come, decoded, sorted or with their noise, and as an answer."""


class Answers(Protocol[Uncertainty]):
    """How outputs of one task become predictions."""

    @property
    def values(self) -> int:
        """Numbers that one sample of one row gives the client."""

    @property
    def holds_samples(self) -> bool:
        """Whether all samples of a row have to be in memory at once."""

    def means(self, outputs: Tensor) -> Tensor:
        """Return the numbers of which means are answered, [S, R, outputs] to float64 [S, R, values]."""

    def gather(self, outputs: Iterable[Tensor]) -> Uncertainty:
        """Return what samples of outputs, [S, R, outputs] each, say together."""

    def of(self, outputs: Iterable[Tensor], rows: Sequence[int]) -> list[Any]:
        """Return the predictions from samples of outputs, [S, R, outputs] each, of rows with these numbers.

        Raises:
            InvalidRows: An output is not finite.
        """


def most_rows(answers: Answers[Any], samples: int, tile_bytes: int) -> int:
    """Return how many rows at once keep their samples within `tile_bytes`."""
    row_bytes = max(samples, 1) * answers.values * torch.float64.itemsize * SAMPLE_COPIES
    return max(1, tile_bytes // row_bytes)


def refuse_infinite(values: Tensor, rows: Sequence[int]) -> None:
    """Raise InvalidRows for rows, by their numbers, of which a value, on the CPU, is not finite."""
    # NumPy: for a few numbers three calls of torch take ten times as long.
    if np.isfinite(values.numpy()).all():
        return
    finite = values.isfinite().all(-1)
    message = "what the network makes of this row is not a finite number: its values are far from those it learned from"
    wrong = [rows[row] for row in (~finite).nonzero()[:, 0].tolist()]
    raise InvalidRows([Problem(f"rows[{row}]", message) for row in wrong[:100]])
