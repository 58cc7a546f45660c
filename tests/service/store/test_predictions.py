"""Predictions in the store: who may do what to them, and that a worker that lost one can write nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from service.errors import InUse, NotFound, QueueFull, WrongState
from service.ids import new_id
from service.store import datasets, models, prediction_attempts, predictions
from service.store.blobs import BlobWriter, collect
from service.store.engine import Store
from service.store.prediction_tables import Prediction
from service.store.tables import Blob, Dataset

ABOUT = {"mc_samples": 50}


@pytest.fixture
def model(store: Store) -> str:
    writer = BlobWriter(store)
    writer.write(b"weights")
    row: dict[str, Any] = {"spec": {}, "task": "regression", "classes": None, "columns": [], "preprocessing": {}}
    with store.begin() as session:
        blob = writer.finish(session)
        more = {"metrics": {}, "receipt": {}, "parameters": 1}
        return models.insert(session, job=new_id("job"), name=None, weights=blob, **row, **more).id


@pytest.fixture
def new(store: Store, model: str, new_dataset: Callable[..., Dataset]) -> Callable[..., Prediction]:
    dataset = new_dataset()

    def create(most: int = 100) -> Prediction:
        with store.begin() as session:
            held = datasets.hold(session, dataset.id)
            return predictions.insert(
                session, model=model, dataset=held.id, data_sha256=held.sha256, format="csv", input=held.sha256,
                columns=held.columns, options={"seed": 1}, rows=1000, most_queued=most,
            )  # fmt: skip

    return create


def claim(store: Store, seconds: float = 30) -> Prediction:
    with store.begin() as session:
        found = prediction_attempts.claim(session, "w", seconds)
    assert found is not None
    return found


def get(store: Store, prediction_id: str) -> Prediction:
    with store.read() as session:
        return predictions.get(session, prediction_id)


def part(store: Store, row: Prediction, number: int, content: bytes = b"part") -> bool:
    writer = BlobWriter(store)
    writer.write(content)
    with store.begin() as session:
        blob = writer.finish(session)
        return prediction_attempts.add_part(session, row.id, row.attempt, number, 400, blob, 10.0)


def test_one_is_claimed_worked_on_and_ends(store: Store, new: Callable[..., Prediction]) -> None:
    first, second = new(), new()
    assert (first.status, first.rows_done, first.losses) == ("queued", 0, [])
    running = claim(store)
    assert (running.id, running.status, running.attempt, running.worker) == (first.id, "running", 1, "w")
    assert part(store, running, 0) and part(store, running, 1)
    assert (get(store, first.id).rows_done, get(store, first.id).rows_per_second) == (800, 10.0)
    with store.read() as session:
        assert [one.number for one in prediction_attempts.parts(session, first.id)] == [0, 1]
        assert [one.id for one in prediction_attempts.held_by(session, "w")] == [first.id]
    writer = BlobWriter(store)
    writer.write(b"whole")
    with store.begin() as session:
        blob = writer.finish(session)
        assert prediction_attempts.succeed(session, first.id, 1, blob, ABOUT)
    done = get(store, first.id)
    assert (done.status, done.result, done.result_size, done.about) == ("succeeded", blob.sha256, 5, ABOUT)
    assert done.input is None and done.finished_at is not None and done.worker is None
    with store.read() as session:
        assert not prediction_attempts.parts(session, first.id)
    assert claim(store).id == second.id
    with store.begin() as session:
        assert prediction_attempts.claim(session, "w", 30) is None


def test_a_worker_that_lost_it_can_write_nothing(store: Store, new: Callable[..., Prediction]) -> None:
    new()
    old = claim(store, seconds=-1)
    with store.begin() as session:
        assert prediction_attempts.recover(session, 3) == [old.id]
    fresh = claim(store)
    assert fresh.attempt == 2 and fresh.losses == ["Attempt 1 was lost: worker w was silent for longer than its lease."]
    assert not part(store, old, 0)
    with store.begin() as session:
        assert not prediction_attempts.renew(session, old.id, old.attempt, 30)
        assert not prediction_attempts.fail(session, old.id, old.attempt, "x", "y", [])
        assert not prediction_attempts.give_back(session, old.id, old.attempt)
        assert not prediction_attempts.lose(session, old.id, old.attempt, 1, "again")
        assert prediction_attempts.renew(session, fresh.id, fresh.attempt, 30)
    assert part(store, fresh, 0)
    with store.begin() as session:
        assert prediction_attempts.give_back(session, fresh.id, fresh.attempt)
    again = claim(store)
    assert (again.attempt, again.rows_done, len(again.losses)) == (3, 400, 1)


def test_it_is_given_up_after_as_many_losses_as_are_allowed(store: Store, new: Callable[..., Prediction]) -> None:
    new()
    for _ in range(2):
        row = claim(store)
        with store.begin() as session:
            assert prediction_attempts.lose(session, row.id, row.attempt, 2, "it was killed.")
    failed = get(store, row.id)
    assert (failed.status, failed.error_code) == ("failed", "attempts_exhausted")
    assert "Attempt 1 was lost: it was killed. Attempt 2 was lost" in str(failed.error_message)


def test_cancelling_is_at_once_and_twice_is_once(store: Store, new: Callable[..., Prediction]) -> None:
    waiting, running = new(), new()
    taken = claim(store)
    assert taken.id == waiting.id and part(store, taken, 0)
    for row in (waiting, running, running):
        with store.begin() as session:
            assert predictions.cancel(session, row.id).status == "cancelled"
    assert not part(store, taken, 1)
    with store.read() as session:
        assert not prediction_attempts.parts(session, taken.id)
    with store.begin() as session, pytest.raises(NotFound):
        predictions.cancel(session, new_id("prd"))


def test_deleting(store: Store, new: Callable[..., Prediction]) -> None:
    row, other = new(), new()
    claim(store)
    with store.begin() as session, pytest.raises(WrongState, match="is running"):
        predictions.delete(session, row.id)
    with store.begin() as session:
        predictions.cancel(session, row.id)
        predictions.delete(session, row.id)
        predictions.delete(session, other.id)
    for gone in (row, other):
        with store.begin() as session, pytest.raises(NotFound):
            predictions.delete(session, gone.id)


def test_lists_are_filtered_and_paged(store: Store, new: Callable[..., Prediction], model: str) -> None:
    rows = [new().id for _ in range(3)]
    claim(store)
    with store.read() as session:
        page = predictions.list_page(session, 2)
        assert [row.id for row in page.rows] == rows[:0:-1] and page.has_more
        assert [row.id for row in predictions.list_page(session, 2, page.rows[-1].id).rows] == rows[:1]
        assert [row.id for row in predictions.list_page(session, 9, status="running").rows] == rows[:1]
        assert len(predictions.list_page(session, 9, model=model).rows) == 3
        assert not predictions.list_page(session, 9, model=new_id("mdl")).rows
        assert list(predictions.oldest_queued(session, 9)) == rows[1:]


def test_the_queue_has_an_end(store: Store, new: Callable[..., Prediction]) -> None:
    new(most=2), new(most=2)
    with pytest.raises(QueueFull):
        new(most=2)
    claim(store)
    new(most=2)


def test_what_it_needs_stays_until_it_has_ended(store: Store, new: Callable[..., Prediction], model: str) -> None:
    row = new()
    with store.begin() as session, pytest.raises(InUse, match=row.id):
        models.delete(session, model)
    assert row.dataset is not None
    with store.begin() as session:
        datasets.delete(session, row.dataset)
    with store.begin() as session:
        assert collect(session, older_than=-1).blobs == 0
    with store.begin() as session:
        predictions.cancel(session, row.id)
        models.delete(session, model)
    with store.begin() as session:
        assert collect(session, older_than=-1).blobs == 2
        assert session.query(Blob).count() == 0
