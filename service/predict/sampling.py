"""Drawing the samples that rows get: the same number for all, or as many as each needs.

Shape letters: S samples of a part, R rows, V values answered.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from service.predict.answers import Answers
from service.predict.options import Adaptive
from service.uncertainty.monte_carlo import Chunk, MonteCarlo
from service.uncertainty.samples import Moments

GROWTH = 1.25
"""How many times the samples of one look at the error the next one has."""


@dataclass(frozen=True)
class Sampled:
    """Rows of a chunk, by their numbers in the request, and samples of their outputs."""

    rows: list[int]
    outputs: Iterable[Tensor]
    samples: int


def outputs_of(monte_carlo: MonteCarlo, chunk: Chunk, samples: int, seed: int) -> Iterator[Tensor]:
    """Yield the outputs of so many samples of each member, [S, R, outputs] at a time; for none, of it as it is."""
    if samples:
        return monte_carlo.draws(chunk, samples, seed)
    return iter([monte_carlo.outputs(chunk)])


def until_sure(
    monte_carlo: MonteCarlo, chunk: Chunk, answers: Answers[Any], samples: int, seed: int, asked: Adaptive
) -> Iterator[Sampled]:
    """Sample rows until the standard error of every mean is within the tolerance, at most `samples` times.

    Each row stops for itself, so that its answer does not depend on those beside it; rows of as many samples come
    together. The error is the deviation of the samples over the root of their number (the chosen networks are
    independent draws).
    """
    rows = torch.arange(chunk.rows.start, chunk.rows.stop)
    held: list[Tensor] = []
    count, following = 0, min(asked.min_samples, samples)
    while len(rows):
        drawn = monte_carlo.draws(chunk, following, seed, start=count)
        held, count = [torch.cat([*held, *drawn])], following
        error = _standard_error(answers.means(held[0]))
        done = error <= asked.tolerance if count < samples else torch.ones_like(error, dtype=torch.bool)
        if bool(done.any()):
            yield Sampled(rows[done].tolist(), [held[0][:, done]], count)
            rows, held = rows[~done], [held[0][:, ~done]]
            chunk = replace(chunk, hidden=chunk.hidden[~done])
        following = min(samples, max(count + 1, int(count * GROWTH)))


def _standard_error(values: Tensor) -> Tensor:
    """Return the largest standard error of the means over samples, [S, R, V] to [R]."""
    moments = Moments()
    moments.add(values)
    # Of a sample the deviation is that of the S - 1 numbers that are free.
    error: Tensor = moments.std / math.sqrt(max(len(values) - 1, 1))
    return error.amax(-1)
