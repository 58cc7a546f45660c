"""Jobs, as clients see and command them."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select, update

from service.errors import NotFound, WrongState
from service.store import checkpoints, commands, events, jobs, metrics, waiting
from service.store.blobs import write_blob
from service.store.engine import Store
from service.store.metric_tables import Metric
from service.store.tables import Checkpoint, Job, JobEvent, Model

NewJob = Callable[..., Job]
SPEC: dict[str, object] = {"network": {"layers": []}}


def set_status(store: Store, job_id: str, status: str) -> None:
    with store.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(status=status))


def status(store: Store, job_id: str) -> str:
    with store.read() as session:
        return jobs.get(session, job_id).status


def last_event(store: Store, job_id: str) -> str:
    with store.read() as session:
        return events.since(session, job_id)[-1].type


def test_a_new_job_is_queued(store: Store, new_job: NewJob) -> None:
    made = new_job(name="wine", spec=SPEC, spec_sha256="a" * 64, dataset="ds_1", data_sha256="b" * 64, seed=7)
    with store.read() as session:
        job = jobs.get(session, made.id)
        assert [event.type for event in events.since(session, job.id)] == ["queued"]
    for found in (made, job):
        assert (found.name, found.spec, found.spec_sha256, found.dataset) == ("wine", SPEC, "a" * 64, "ds_1")
        assert (found.data_sha256, found.seed, found.status, found.attempt) == ("b" * 64, 7, "queued", 0)
        assert (found.epoch, found.step, found.model, found.error_code, found.receipt) == (0, 0, None, None, None)
        assert found.created_at > 1.7e9
    assert made.id.startswith("job_")


@pytest.mark.parametrize("call", [jobs.get, jobs.lock, jobs.delete])
def test_a_job_that_is_not_there_is_not_found(store: Store, call: Callable[..., object]) -> None:
    with pytest.raises(NotFound, match="no job job_x"), store.begin() as session:
        call(session, "job_x")


def test_lists_are_filtered_before_they_are_paged(store: Store, new_job: NewJob) -> None:
    ids = [new_job().id for _ in range(6)]
    for job_id in ids[::2]:
        set_status(store, job_id, "running")
    with store.read() as session:
        rows, more = jobs.list_page(session, 2, status="running")
        assert ([job.id for job in rows], more) == ([ids[4], ids[2]], True)
        rows, more = jobs.list_page(session, 2, after=ids[2], status="running")
        assert ([job.id for job in rows], more) == ([ids[0]], False)
        assert len(jobs.list_page(session, 10).rows) == 6


def test_queued_jobs_are_counted_and_named_in_their_order(store: Store, new_job: NewJob) -> None:
    ids = [new_job().id for _ in range(4)]
    set_status(store, ids[0], "running")
    with store.read() as session:
        assert list(jobs.oldest_queued(session, 2)) == ids[1:3]
        assert {job_id: place.position for job_id, place in waiting.places(session, ids).items()} == {
            ids[1]: 1,
            ids[2]: 2,
            ids[3]: 3,
        }


def test_a_job_cancelled_before_it_ran_is_never_claimed(store: Store, new_job: NewJob) -> None:
    job = new_job()
    with store.begin() as session:
        commands.give(session, job.id, "cancel")
        assert jobs.claim(session, "w", 30) is None
        assert jobs.get(session, job.id).finished_at is not None


def measure(store: Store, job_id: str) -> None:
    with store.begin() as session:
        metrics.record(session, job_id, [metrics.Point("loss", "train", 1, 1, 0.5)])
    blob = write_blob(store, [b"weights"])
    with store.begin() as session:
        checkpoints.insert(session, job=job_id, attempt=1, epoch=1, step=1, blob=blob, state={}, metrics={})


@pytest.mark.parametrize("state", ["queued", "paused", "succeeded", "failed", "cancelled"])
def test_deleting_a_job_deletes_what_belongs_to_it(store: Store, new_job: NewJob, state: str) -> None:
    job, other = new_job(), new_job()
    measure(store, job.id)
    measure(store, other.id)
    set_status(store, job.id, state)
    with store.begin() as session:
        jobs.delete(session, job.id)
    with store.read() as session:
        assert session.scalars(select(Job.id)).all() == [other.id]
        for table in (JobEvent, Metric, Checkpoint):
            assert session.scalars(select(table.job).distinct()).all() == [other.id]


@pytest.mark.parametrize("state", jobs.OWNED)
def test_a_job_that_a_worker_owns_is_not_deleted(store: Store, new_job: NewJob, state: str) -> None:
    job = new_job()
    set_status(store, job.id, state)
    with pytest.raises(WrongState, match=f"is {state}; cancel it"), store.begin() as session:
        jobs.delete(session, job.id)
    assert status(store, job.id) == state


def succeed(store: Store, new_job: NewJob, model: bool = True, **values: Any) -> Job:
    new_job(**values)
    blob = write_blob(store, [b"weights"])
    with store.begin() as session:
        job = jobs.claim(session, "w", 30)
        assert job is not None
        if model:
            session.add(
                Model(id=f"mdl_{job.id[4:]}", job=job.id, spec={}, task="classification", columns=[], preprocessing={},
                      metrics={}, receipt={}, weights_sha256=blob.sha256, size=7, parameters=1)
            )  # fmt: skip
        jobs.succeed(session, job.id, 1, f"mdl_{job.id[4:]}", {})
        return job


def test_a_job_like_one_that_succeeded_is_found(store: Store, new_job: NewJob) -> None:
    same: dict[str, Any] = {"spec_sha256": "a" * 64, "data_sha256": "b" * 64, "seed": 1}
    succeed(store, new_job, **same)
    newest = succeed(store, new_job, **same)
    for other in ({"spec_sha256": "c" * 64}, {"data_sha256": "c" * 64}, {"seed": 2}):
        succeed(store, new_job, **{**same, **other})
    succeed(store, new_job, model=False, **same)  # its model was deleted
    failed = new_job(**same)
    set_status(store, failed.id, "failed")
    with store.read() as session:
        found = jobs.twin(session, "a" * 64, "b" * 64, 1)
        assert found is not None
        assert found.id == newest.id
        assert jobs.twin(session, "a" * 64, "b" * 64, 3) is None
        assert session.scalar(select(func.count()).select_from(Job)) == 7
