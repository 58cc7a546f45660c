"""Models: they outlive their job, and their weights stay as long as they do."""

from collections.abc import Callable

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from service.errors import NotFound
from service.store import jobs, models
from service.store.blobs import BlobWriter, blob_bytes, collect
from service.store.engine import Store
from service.store.tables import Blob, Chunk, Job, Model

NewJob = Callable[..., Job]


def insert(store: Store, job: Job) -> Model:
    writer = BlobWriter(store)
    writer.write(b"weights of " + job.id.encode())
    with store.begin() as session:
        model = models.insert(
            session, job=job.id, name="wine", spec={"a": 1}, task="classification", classes=["x", 2, True],
            columns=[{"name": "c"}], preprocessing={"p": 1}, metrics={"test": {"loss": 0.5}}, receipt={"seed": 0},
            weights=writer.finish(session), parameters=12,
        )  # fmt: skip
        assert jobs.succeed(session, job.id, 1, model.id, {"seed": 0})
        return model


def test_a_model_comes_back(store: Store, new_run: NewJob) -> None:
    run = new_run()
    made = insert(store, run)
    with store.read() as session:
        model = models.get(session, made.id)
    assert made.id.startswith("mdl_")
    assert (model.job, model.name, model.spec, model.task) == (run.id, "wine", {"a": 1}, "classification")
    assert (model.classes, model.columns, model.preprocessing) == (["x", 2, True], [{"name": "c"}], {"p": 1})
    assert (model.metrics, model.calibration, model.receipt) == ({"test": {"loss": 0.5}}, None, {"seed": 0})
    assert (model.parameters, model.size) == (12, len("weights of ") + len(run.id))
    assert blob_bytes(store, model.weights_sha256) == b"weights of " + run.id.encode()


@pytest.mark.parametrize("call", [models.get, models.delete])
def test_a_model_that_is_not_there_is_not_found(store: Store, call: Callable[..., object]) -> None:
    with pytest.raises(NotFound, match="no model mdl_x"), store.begin() as session:
        call(session, "mdl_x")


def test_a_job_has_one_model(store: Store, new_run: NewJob) -> None:
    run = new_run()
    insert(store, run)
    with pytest.raises(IntegrityError):
        insert(store, run)


def test_models_that_came_as_files_have_no_job_however_many_there_are(store: Store, new_run: NewJob) -> None:
    run = new_run()
    trained = insert(store, run)
    writer = BlobWriter(store)
    writer.write(b"weights from elsewhere")
    with store.begin() as session:
        blob = writer.finish(session)
        came = [
            models.insert(
                session, job=None, name=None, spec={}, task="regression", classes=None, columns=[], preprocessing={},
                metrics={}, receipt={}, weights=blob, parameters=1,
            ).id
            for _ in range(2)
        ]  # fmt: skip
        models.delete(session, came[0])
    with store.read() as session:
        assert models.get(session, came[1]).job is None
        # Nobody else's job forgets its model when one without any is deleted.
        assert jobs.get(session, run.id).model == trained.id


def test_lists_are_newest_first(store: Store, new_run: NewJob) -> None:
    ids = [insert(store, new_run()).id for _ in range(3)]
    with store.read() as session:
        rows, more = models.list_page(session, 2)
        assert ([row.id for row in rows], more) == ([ids[2], ids[1]], True)
        assert [row.id for row in models.list_page(session, 2, after=ids[1]).rows] == [ids[0]]


def test_a_model_outlives_its_job(store: Store, new_run: NewJob) -> None:
    run = new_run()
    model = insert(store, run)
    with store.begin() as session:
        jobs.delete(session, run.id)
        session.execute(update(Chunk).values(touched_at=0.0))
        session.execute(update(Blob).values(touched_at=0.0))
        assert collect(session).blobs == 0
    with store.read() as session:
        assert models.get(session, model.id).job == run.id
    assert blob_bytes(store, model.weights_sha256)


def test_a_job_does_not_name_a_model_that_was_deleted(store: Store, new_run: NewJob) -> None:
    run, other = new_run(), new_run()
    model, kept = insert(store, run), insert(store, other)
    with store.begin() as session:
        models.delete(session, model.id)
    with store.read() as session:
        assert jobs.get(session, run.id).model is None
        assert jobs.get(session, run.id).status == "succeeded"
        assert jobs.get(session, other.id).model == kept.id
        with pytest.raises(NotFound):
            models.get(session, model.id)
