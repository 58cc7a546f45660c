"""Checkpoints: the last two and their best ones are kept, each in one piece or not at all."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

from service.errors import NotFound
from service.store import checkpoints
from service.store.blobs import BlobWriter, blob_bytes, collect
from service.store.engine import Store
from service.store.tables import Blob, Checkpoint, Chunk, Job

NewJob = Callable[..., Job]


def save(
    store: Store, job: Job, step: int, *, last: bool = True, best: bool = False, best_step: int | None = None
) -> Checkpoint:
    writer = BlobWriter(store)
    writer.write(f"{job.id} {step} {last}".encode())
    with store.begin() as session:
        return checkpoints.insert(
            session, job=job.id, attempt=1, epoch=step // 10, step=step, blob=writer.finish(session),
            state={"best_step": best_step, "best_epoch": (best_step or 0) // 10}, metrics={"val_loss": 0.5},
            last=last, best=best,
        )  # fmt: skip


def kept(store: Store, job: Job) -> list[tuple[int, bool, bool]]:
    with store.read() as session:
        return [(row.step, row.last, row.best) for row in checkpoints.resumable(session, job.id)]


def test_a_checkpoint_comes_back(store: Store, new_job: NewJob) -> None:
    job = new_job()
    made = save(store, job, 20)
    with store.read() as session:
        found = checkpoints.get(session, made.id, job.id)
    assert made.id.startswith("ckpt_")
    assert (found.job, found.attempt, found.epoch, found.step) == (job.id, 1, 2, 20)
    assert (found.state["best_step"], found.metrics, found.last, found.best) == (None, {"val_loss": 0.5}, True, False)
    assert blob_bytes(store, found.blob) == f"{job.id} 20 True".encode()
    assert found.size == len(f"{job.id} 20 True")


def test_the_last_one_and_the_one_before_stay(store: Store, new_job: NewJob) -> None:
    job, other = new_job(), new_job()
    save(store, other, 1, best=True)
    for step in (10, 20, 30):
        save(store, job, step)
    assert kept(store, job) == [(30, True, False), (20, False, False)]
    assert kept(store, other) == [(1, True, True)]


def test_the_best_one_stays_until_a_better_comes(store: Store, new_job: NewJob) -> None:
    job = new_job()
    save(store, job, 10, best=True)
    assert kept(store, job) == [(10, True, True)]
    save(store, job, 20)
    assert kept(store, job) == [(20, True, False), (10, False, True)]
    save(store, job, 30)
    assert kept(store, job) == [(30, True, False), (20, False, False), (10, False, True)]
    save(store, job, 40, best=True)
    assert kept(store, job) == [(40, True, True), (30, False, False)]


def test_the_best_of_the_one_before_stays_with_it(store: Store, new_job: NewJob) -> None:
    job = new_job()
    save(store, job, 10, best=True, best_step=10)
    save(store, job, 20, best_step=10)
    save(store, job, 30, best=True, best_step=30)
    assert kept(store, job) == [(30, True, True), (20, False, False), (10, False, False)]
    save(store, job, 40, best_step=30)
    assert kept(store, job) == [(40, True, False), (30, False, True)]


def test_going_back_makes_one_the_last_again_and_its_best_the_best(store: Store, new_job: NewJob) -> None:
    job = new_job()
    save(store, job, 10, best=True, best_step=10)
    before = save(store, job, 20, best_step=10)
    save(store, job, 30, best=True, best_step=30)
    with store.begin() as session:
        checkpoints.rewind(session, job.id, before)
    assert kept(store, job) == [(20, True, False), (10, False, True)]
    save(store, job, 30, best=True, best_step=30)
    assert kept(store, job) == [(30, True, True), (20, False, False), (10, False, False)]


def test_the_best_may_be_another_than_the_last(store: Store, new_job: NewJob) -> None:
    job = new_job()
    save(store, job, 10)
    best = save(store, job, 10, last=False, best=True)
    assert kept(store, job) == [(10, False, True), (10, True, False)]
    with store.read() as session:
        found = checkpoints.best(session, job.id)
        last = checkpoints.last(session, job.id)
    assert found is not None
    assert last is not None
    assert (found.id, last.best) == (best.id, False)


def test_a_job_without_checkpoints_has_none(store: Store, new_job: NewJob) -> None:
    job = new_job()
    with store.read() as session:
        assert checkpoints.last(session, job.id) is None
        assert checkpoints.best(session, job.id) is None
        assert list(checkpoints.resumable(session, job.id)) == []
        assert checkpoints.list_page(session, job.id, 10) == ([], False)


def test_a_checkpoint_is_found_only_under_its_job(store: Store, new_job: NewJob) -> None:
    job, other = new_job(), new_job()
    made = save(store, job, 1)
    with store.read() as session:
        assert checkpoints.get(session, made.id).id == made.id
        for wrong, owner in ((made.id, other.id), ("ckpt_x", job.id), ("ckpt_x", None)):
            with pytest.raises(NotFound, match=f"no checkpoint {wrong}"):
                checkpoints.get(session, wrong, owner)


def test_pages_are_of_one_job(store: Store, new_job: NewJob) -> None:
    job, other = new_job(), new_job()
    first, second = save(store, job, 1, best=True), save(store, job, 2)
    save(store, other, 3)
    with store.read() as session:
        rows, more = checkpoints.list_page(session, job.id, 1)
        assert ([row.id for row in rows], more) == ([second.id], True)
        rows, more = checkpoints.list_page(session, job.id, 1, after=second.id)
        assert ([row.id for row in rows], more) == ([first.id], False)


def test_going_back_to_the_start_leaves_none(store: Store, new_job: NewJob) -> None:
    job, other = new_job(), new_job()
    save(store, job, 10, best=True)
    save(store, job, 20)
    save(store, other, 20)
    with store.begin() as session:
        checkpoints.rewind(session, job.id, None)
    assert kept(store, job) == []
    assert kept(store, other) == [(20, True, False)]


def test_bytes_of_kept_checkpoints_are_not_collected(store: Store, new_job: NewJob) -> None:
    job = new_job()
    for step in (1, 2, 3):
        save(store, job, step)
    with store.begin() as session:
        session.execute(update(Chunk).values(touched_at=0.0))
        session.execute(update(Blob).values(touched_at=0.0))
        assert collect(session).blobs == 1
        rows = checkpoints.resumable(session, job.id)
    assert [blob_bytes(store, row.blob) for row in rows] == [f"{job.id} {step} True".encode() for step in (3, 2)]
