"""The making of a prediction: part by part, each kept before the next begins, and one Parquet file of all at the end.

Where parts end follows from the model and the options alone, so an attempt that goes on behind the parts of another
ends with the bytes of one never disturbed.
"""

import math
import time
from collections.abc import Iterator
from typing import Any

import polars as pl

from service.data.frame import Frame
from service.data.recutting import recut
from service.predict.bulk.bulk import Bulk
from service.predict.bulk.datasets import stored_frames
from service.predict.bulk.schema import schema_of
from service.predict.bulk.stitching import Stitcher
from service.predict.bulk.writers import ParquetWriter
from service.predict.cache import load
from service.predict.messages import PredictOptions
from service.predict.predict import use_threads
from service.settings import MIB, Settings
from service.store import prediction_attempts
from service.store.blobs import BlobRef, BlobWriter, blob_bytes
from service.store.engine import Store
from service.store.prediction_tables import Prediction
from worker.predicting.hold import Hold, HoldLost

TILE_BYTES = 64 * MIB
"""Of the tiles of Monte-Carlo work; no setting, since the last bits depend on it."""
FRAME_ROWS, FRAME_BYTES = 8_192, 16 * MIB
PART_FRAMES = 4
PART_ACTIVATIONS = 10_000_000_000
"""Bytes of activations that a part may run through: some seconds of work, which is what a dead worker costs."""


class Run:
    """What one attempt does."""

    def __init__(self, store: Store, settings: Settings, row: Prediction, hold: Hold) -> None:
        """Raise what loading the model and reading the options raises."""
        use_threads(settings.predict_threads)
        self._store, self._settings, self._row, self._hold = store, settings, row, hold
        asked = PredictOptions.model_validate(row.options)
        fixed = settings.model_copy(update={"predict_tile_bytes": TILE_BYTES})
        self._bulk = Bulk.of(load(store, row.model), asked, fixed)
        self._writer = ParquetWriter(schema_of(self._bulk), self._bulk.about)
        self._frame_rows, self._part_rows = _sizes(self._bulk)

    def predict(self) -> None:
        """Predict the rows that no part holds yet, then put the parts together.

        Raises:
            InvalidInput: Rows do not fit the model.
            HoldLost: The prediction is no longer this attempt's.
            GivenBack: The worker is to stop.
        """
        self._bulk.check_work(self._row.rows, self._settings)
        with self._store.read() as session:
            kept = prediction_attempts.parts(session, self._row.id)
        done = sum(part.rows for part in kept)
        for number, tables in enumerate(self._parts(done), len(kept)):
            self._keep(number, tables)
        self._finish()

    def _parts(self, done: int) -> Iterator[list[pl.DataFrame]]:
        """Yield the tables of one part after another, from row `done` on."""
        self._began, self._made = time.monotonic(), 0
        tables: list[pl.DataFrame] = []
        for predictions in self._bulk.answers(self._bulk.encoded(self._frames(done), done), done):
            self._hold.check()
            tables.append(self._writer.table(predictions))
            self._made += len(predictions)
            if sum(table.height for table in tables) == self._part_rows:
                yield tables
                tables = []
        if tables:
            yield tables

    def _frames(self, done: int) -> Iterator[Frame]:
        row = self._row
        assert row.input is not None  # it holds its rows until it ends
        return recut(
            stored_frames(self._store, self._bulk.loaded, row.input, row.format, row.columns), self._frame_rows, done
        )

    def _keep(self, number: int, tables: list[pl.DataFrame]) -> None:
        rows = sum(table.height for table in tables)
        writer = BlobWriter(self._store, self._settings.chunk_bytes)
        writer.write(self._writer.file(tables))
        speed = self._made / max(time.monotonic() - self._began, 1e-9)
        owner = (self._row.id, self._row.attempt)
        with self._store.begin() as session:
            if not prediction_attempts.add_part(session, *owner, number, rows, writer.finish(session), speed):
                raise HoldLost(self._row.id)

    def _finish(self) -> None:
        with self._store.read() as session:
            parts = [part.blob for part in prediction_attempts.parts(session, self._row.id)]
        writer, stitcher = BlobWriter(self._store, self._settings.chunk_bytes), Stitcher()
        for sha256 in parts:
            self._hold.check()
            writer.write(stitcher.add(blob_bytes(self._store, sha256)))
        writer.write(stitcher.end())
        about: dict[str, Any] = self._bulk.about
        with self._store.begin() as session:
            result: BlobRef = writer.finish(session)
            if not prediction_attempts.succeed(session, self._row.id, self._row.attempt, result, about):
                raise HoldLost(self._row.id)


def _sizes(bulk: Bulk) -> tuple[int, int]:
    """Return the rows of a frame and of a part: a whole number of frames."""
    cells = sum(math.prod(column.shape or ()) for column in bulk.loaded.features.columns)
    samples = bulk.plan.networks
    answered = bulk.plan.answers.values * (samples if bulk.asked.return_samples else 2)
    work = bulk.loaded.monte_carlo.row_bytes * samples
    fitting = min(FRAME_ROWS, FRAME_BYTES // (8 * max(cells, answered, 1)), PART_ACTIVATIONS // max(work, 1))
    frame = max(1, fitting)
    return frame, frame * max(1, min(PART_FRAMES, PART_ACTIVATIONS // max(work * frame, 1)))
