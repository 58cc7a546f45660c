"""Statistics of whole numbers, wherever in memory they lie."""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.blocks.statistics import PIECE, WholeStatistics

NUMBERS = np.random.default_rng(0).integers(-9999, 9999, (120, 9, 11, 3))
LAYOUTS = {"channels innermost": NUMBERS.transpose(0, 3, 1, 2), "channels outermost": NUMBERS, "column": NUMBERS[:, :1]}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", [np.int16, np.uint8])
def test_those_of_small_whole_numbers_are_exact(
    layout: str, kind: type[np.integer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.blocks.statistics.PIECE", PIECE >> 8)  # several pieces, and a last one that is smaller
    values: NDArray[np.integer] = LAYOUTS[layout].astype(kind)
    running, shape = WholeStatistics(values.shape[1]), (len(values), values.shape[1], -1)
    for part in (values[:50], values[50:]):
        running.add(part.reshape(len(part), *shape[1:]))
    found, exact = running.result(), values.astype(object).reshape(shape).transpose(1, 0, 2)
    assert found.count.tolist() == [channel.size for channel in exact]
    assert found.low.tolist() == [channel.min() for channel in exact]
    assert found.high.tolist() == [channel.max() for channel in exact]
    sums, squares = [channel.sum() for channel in exact], [(channel**2).sum() for channel in exact]
    assert found.mean.tolist() == [s / channel.size for s, channel in zip(sums, exact, strict=True)]
    pairs = zip(sums, squares, exact, strict=True)
    assert found.squares.tolist() == [(channel.size * q - s * s) / channel.size for s, q, channel in pairs]
