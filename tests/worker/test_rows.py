"""Rows in memory and in a file: the same batches, in the same places of memory, from wherever one begins."""

import numpy as np
import pytest
import torch

from service.data.frame import Column, Frame
from service.data.profile import ColumnProfile
from tests.support.uploaded import spec_of
from worker import rows
from worker.data import prepare
from worker.rows import Batch, TrainingData

COUNT = 203
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (COUNT, 4, 3, 3)).astype(np.uint8)
FRAME: Frame = {"image": Column("tensor", PIXELS), "y": Column("number", np.arange(COUNT) % 3.0)}
COLUMNS = [
    ColumnProfile(name="image", type="tensor", shape=(4, 3, 3), dtype="uint8", min=0, max=255),
    ColumnProfile(name="y", type="number"),
]


@pytest.fixture
def data() -> TrainingData:
    return prepare(FRAME, COLUMNS, spec_of("mse", target="y", preprocessing="standardize"))


def test_images_stay_bytes_until_the_batch(data: TrainingData) -> None:
    assert isinstance(data.x, torch.Tensor) and data.x.dtype == torch.uint8
    index = torch.tensor([5, 0, 7])
    batch = data.rows(index)
    assert batch.x.dtype == torch.float32
    assert np.array_equal(batch.x.numpy(), data.features.transform(FRAME)[index])


def whole(batches: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.x for batch in batches])


@pytest.mark.parametrize("window", [1, 1000, 10_000, 1 << 25])
@pytest.mark.parametrize("first", [0, 1, 5, 7, 28, 29, 40])
def test_pieces_begin_anywhere(data: TrainingData, window: int, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "WINDOW_BYTES", window)
    index = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    pieces = list(data.pieces(index, 7, first))
    assert [len(piece) for piece in pieces] == [7] * (COUNT // 7 - first) if first < 29 else not pieces
    if pieces:
        assert torch.equal(whole(pieces), data.rows(index[first * 7 :]).x)
        assert torch.equal(torch.cat([piece.y for piece in pieces]), data.y[index[first * 7 :]])  # type: ignore[index]
