"""Profiles live as long as their job, and their bytes as long as they."""

from collections.abc import Callable

import pytest

from service.errors import NotFound
from service.store import jobs, profiles
from service.store.attempts import Progress
from service.store.blobs import BlobWriter, blob_bytes
from service.store.engine import Store
from service.store.tables import Job
from tests.service.store.test_weights import tidy


def profiled(store: Store, job: Job, data: bytes) -> str:
    writer = BlobWriter(store)
    writer.write(data)
    with store.begin() as session:
        blob = writer.finish(session)
        profiles.insert(session, job=job.id, attempt=1, steps=20, blob=blob)
    return blob.sha256


def test_a_profile_goes_with_its_job_and_its_bytes_with_it(store: Store, new_job: Callable[..., Job]) -> None:
    first, second = new_job(), new_job()
    kept, gone = profiled(store, first, b"first"), profiled(store, second, b"second")
    tidy(store)
    assert (blob_bytes(store, kept), blob_bytes(store, gone)) == (b"first", b"second")
    with store.begin() as session:
        jobs.delete(session, second.id)
    tidy(store)
    with store.read() as session:
        row = profiles.find(session, first.id)
        assert row is not None and (row.attempt, row.steps, row.blob, row.size) == (1, 20, kept, 5)
        assert profiles.find(session, second.id) is None
    assert blob_bytes(store, kept) == b"first"
    with pytest.raises(NotFound):
        blob_bytes(store, gone)


def test_timings_are_written_with_progress_and_stay_where_it_says_nothing(
    store: Store, new_run: Callable[..., Job]
) -> None:
    job = new_run()
    assert job.timings is None
    for progress in (Progress(1, 2, timings={"step_seconds": 1.5}), Progress(2, 4)):
        with store.begin() as session:
            assert jobs.renew(session, job.id, job.attempt, 30, progress) == "running"
    with store.read() as session:
        found = jobs.get(session, job.id)
        assert (found.epoch, found.timings) == (2, {"step_seconds": 1.5})
