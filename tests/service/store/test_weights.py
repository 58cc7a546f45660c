"""Imported weights, and the weights that jobs hold."""

from collections.abc import Callable

import pytest
from sqlalchemy import func, select, update

from service.errors import NotFound
from service.store import jobs, upkeep, weights
from service.store.blobs import BlobWriter, blob_bytes
from service.store.clock import now
from service.store.engine import Store
from service.store.tables import Blob, Chunk, Job
from service.store.weight_tables import JobWeights, Weights

SHAPES: dict[str, dict[str, object]] = {"w": {"dtype": "F32", "shape": [2, 3]}}


def imported(store: Store, data: bytes) -> Weights:
    writer = BlobWriter(store)
    writer.write(data)
    with store.begin() as session:
        return weights.insert(session, name="w", blob=writer.finish(session), tensors=SHAPES, parameters=6)


def tidy(store: Store) -> None:
    """Collect as if everything had been stored long ago."""
    with store.begin() as session:
        session.execute(update(Chunk).values(touched_at=now() - 7200))
        session.execute(update(Blob).values(touched_at=now() - 7200))
    upkeep.tidy(store)


def test_weights_are_found_listed_and_deleted(store: Store) -> None:
    first, second = imported(store, b"first"), imported(store, b"second")
    with store.read() as session:
        found = weights.get(session, first.id)
        assert (found.name, found.size, found.tensors, found.parameters) == ("w", 5, SHAPES, 6)
        assert found.id.startswith("wts_") and found.created_at > 0
        assert [row.id for row in weights.list_page(session, 10).rows] == [second.id, first.id]
        assert weights.list_page(session, 10, second.id).rows == [found]
    with store.begin() as session:
        weights.delete(session, first.id)
    for call in (weights.get, weights.delete):
        with pytest.raises(NotFound, match=first.id), store.begin() as session:
            call(session, first.id)
    tidy(store)
    assert blob_bytes(store, second.sha256) == b"second"
    with pytest.raises(NotFound):
        blob_bytes(store, first.sha256)


def test_a_job_keeps_what_it_starts_from_until_it_is_deleted(store: Store, new_job: Callable[..., Job]) -> None:
    row = imported(store, b"bytes")
    first, second = (new_job(starts_from={row.sha256}) for _ in range(2))
    with store.begin() as session:
        weights.delete(session, row.id)
        jobs.delete(session, first.id)
        assert weights.held_by(session, first.id) == []
        assert weights.held_by(session, second.id) == [row.sha256]
    tidy(store)
    assert blob_bytes(store, row.sha256) == b"bytes"
    with store.begin() as session:
        jobs.delete(session, second.id)
        assert session.scalar(select(func.count()).select_from(JobWeights)) == 0
    tidy(store)
    with pytest.raises(NotFound):
        blob_bytes(store, row.sha256)


def test_a_job_cannot_hold_what_is_gone(store: Store, new_job: Callable[..., Job]) -> None:
    with pytest.raises(NotFound, match="were deleted meanwhile"):
        new_job(starts_from={"f" * 64})
    with store.read() as session:
        assert jobs.list_page(session, 10) == ([], False)
