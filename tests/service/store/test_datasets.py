"""Data sets: stored with their bytes, kept while a job needs them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from service.errors import InUse, NotFound
from service.store import datasets, jobs
from service.store.blobs import blob_bytes
from service.store.engine import Store
from service.store.tables import Dataset, Job

NewDataset = Callable[..., Dataset]
NewJob = Callable[..., Job]


def test_a_data_set_comes_back(store: Store, new_dataset: NewDataset) -> None:
    made = new_dataset(b"a\n1\n", name="wine")
    with store.read() as session:
        found = datasets.get(session, made.id)
    for row in (made, found):
        assert (row.name, row.format, row.rows, row.size, row.columns) == ("wine", "csv", 1, 4, [{"name": "a"}])
        assert row.created_at > 1.7e9
    assert made.id.startswith("ds_")
    assert blob_bytes(store, found.sha256) == b"a\n1\n"


def test_an_id_can_be_given(store: Store, new_dataset: NewDataset) -> None:
    blob = new_dataset().sha256
    with store.begin() as session:
        made = datasets.insert(
            session, name="", format="csv", sha256=blob, size=1, rows=1, columns=[], dataset_id="ds_given"
        )
    assert made.id == "ds_given"


@pytest.mark.parametrize("call", [datasets.get, datasets.hold, datasets.delete])
def test_a_data_set_that_is_not_there_is_not_found(store: Store, call: Callable[..., object]) -> None:
    with pytest.raises(NotFound, match="no data set ds_x"), store.begin() as session:
        call(session, "ds_x")


def test_lists_are_newest_first(store: Store, new_dataset: NewDataset) -> None:
    ids = [new_dataset().id for _ in range(3)]
    with store.read() as session:
        rows, more = datasets.list_page(session, 2)
        assert ([row.id for row in rows], more) == ([ids[2], ids[1]], True)
        assert [row.id for row in datasets.list_page(session, 2, after=ids[1]).rows] == [ids[0]]


@pytest.mark.parametrize("status", [state for state in jobs.TRANSITIONS if state not in jobs.TERMINAL])
def test_a_data_set_that_a_job_needs_is_kept(
    store: Store, new_dataset: NewDataset, new_job: NewJob, status: str
) -> None:
    dataset = new_dataset()
    job = new_job(dataset=dataset.id)
    with store.begin() as session:
        session.execute(update(Job).values(status=status))
    with pytest.raises(InUse, match=job.id), store.begin() as session:
        datasets.delete(session, dataset.id)
    with store.read() as session:
        datasets.get(session, dataset.id)


@pytest.mark.parametrize("status", jobs.TERMINAL)
def test_a_data_set_of_ended_jobs_can_be_deleted(
    store: Store, new_dataset: NewDataset, new_job: NewJob, status: str
) -> None:
    dataset, other = new_dataset(), new_dataset()
    job = new_job(dataset=dataset.id)
    new_job(dataset=other.id)
    with store.begin() as session:
        session.execute(update(Job).where(Job.id == job.id).values(status=status))
        datasets.delete(session, dataset.id)
    with store.read() as session:
        with pytest.raises(NotFound):
            datasets.get(session, dataset.id)
        assert jobs.get(session, job.id).dataset == dataset.id


def test_a_job_and_the_end_of_its_data_set_do_not_pass_each_other(
    store: Store, new_dataset: NewDataset, new_job: NewJob
) -> None:
    def submit(dataset_id: str) -> bool:
        try:
            with store.begin() as session:
                datasets.hold(session, dataset_id)
                jobs.insert(session, spec={}, spec_sha256="", dataset=dataset_id, data_sha256="", seed=0)
        except NotFound:
            return False
        return True

    def delete(dataset_id: str) -> bool:
        try:
            with store.begin() as session:
                datasets.delete(session, dataset_id)
        except InUse:
            return False
        return True

    ids = [new_dataset().id for _ in range(20)]
    with ThreadPoolExecutor(4) as threads:
        pairs = [(threads.submit(submit, each), threads.submit(delete, each)) for each in ids]
        assert all(submitted.result() != deleted.result() for submitted, deleted in pairs)
