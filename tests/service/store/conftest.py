"""Rows to test with."""

from collections.abc import Callable
from typing import Any

import pytest

from service.store import datasets, jobs
from service.store.blobs import BlobWriter
from service.store.engine import Store
from service.store.tables import Dataset, Job

SHA = "0" * 64


@pytest.fixture
def new_dataset(store: Store) -> Callable[..., Dataset]:
    def create(data: bytes = b"a,b\n1,2\n", name: str = "table") -> Dataset:
        writer = BlobWriter(store)
        writer.write(data)
        with store.begin() as session:
            blob = writer.finish(session)
            return datasets.insert(
                session, name=name, format="csv", sha256=blob.sha256, size=blob.size, rows=1, columns=[{"name": "a"}]
            )

    return create


@pytest.fixture
def new_job(store: Store) -> Callable[..., Job]:
    def create(**values: Any) -> Job:
        job = {"spec": {}, "spec_sha256": SHA, "dataset": "ds_x", "data_sha256": SHA, "seed": 0}
        with store.begin() as session:
            return jobs.insert(session, **{**job, **values})

    return create


@pytest.fixture
def new_run(store: Store, new_job: Callable[..., Job]) -> Callable[..., Job]:
    """A job that a worker has claimed."""

    def create(**values: Any) -> Job:
        new_job(**values)
        with store.begin() as session:
            job = jobs.claim(session, "w1", 30)
            assert job is not None
            return job

    return create
