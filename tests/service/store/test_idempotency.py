"""Idempotency keys: one effect and one answer, however often a request is sent."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, update

from service.errors import IdempotencyMismatch, RequestInFlight
from service.store import idempotency, jobs
from service.store.clock import now
from service.store.engine import Store
from service.store.idempotency import Answer
from service.store.tables import IdempotencyKey, Job

A, B = "a" * 64, "b" * 64


def begin(store: Store, fingerprint: str | None = A, key: str = "k") -> Answer | None:
    with store.begin() as session:
        return idempotency.begin(session, key, fingerprint)


def finish(store: Store, fingerprint: str | None = None, key: str = "k") -> None:
    with store.begin() as session:
        idempotency.finish(session, key, status=202, body={"id": 1}, location="/v1/x", fingerprint=fingerprint)


def age(store: Store, seconds: float) -> None:
    with store.begin() as session:
        session.execute(update(IdempotencyKey).values(created_at=now() - seconds))


def test_the_same_request_gets_the_same_answer(store: Store) -> None:
    assert begin(store) is None
    finish(store)
    assert begin(store) == Answer(A, 202, {"id": 1}, "/v1/x")
    assert begin(store, key="other") is None


def test_a_request_still_being_answered_is_in_flight(store: Store) -> None:
    assert begin(store) is None
    with pytest.raises(RequestInFlight):
        begin(store)


def test_another_request_with_the_same_key_is_refused(store: Store) -> None:
    begin(store)
    with pytest.raises(IdempotencyMismatch):
        begin(store, B)
    finish(store)
    with pytest.raises(IdempotencyMismatch) as caught:
        begin(store, B)
    assert caught.value.problems[0].path == "Idempotency-Key"


def test_a_fingerprint_may_come_late(store: Store) -> None:
    assert begin(store, None) is None
    with pytest.raises(RequestInFlight):
        begin(store, B)
    finish(store, A)
    assert begin(store, None) == Answer(A, 202, {"id": 1}, "/v1/x")
    with pytest.raises(IdempotencyMismatch):
        begin(store, B)


@pytest.mark.parametrize(("known", "sent", "fits"), [(A, A, True), (None, A, True), (A, B, False)])
def test_fingerprints_are_compared(known: str | None, sent: str, fits: bool) -> None:
    if fits:
        idempotency.check(known, sent)
    else:
        with pytest.raises(IdempotencyMismatch):
            idempotency.check(known, sent)


def test_a_request_that_failed_frees_its_key(store: Store) -> None:
    begin(store)
    with store.begin() as session:
        idempotency.forget(session, "k")
    assert begin(store, B) is None


def test_an_answer_is_not_forgotten_by_a_later_failure(store: Store) -> None:
    begin(store)
    finish(store)
    with store.begin() as session:
        idempotency.forget(session, "k")
    assert begin(store) is not None


def test_a_request_that_died_with_its_server_does_not_block_for_ever(store: Store) -> None:
    begin(store)
    age(store, idempotency.STALE_SECONDS - 60)
    with pytest.raises(RequestInFlight):
        begin(store)
    age(store, idempotency.STALE_SECONDS + 1)
    assert begin(store, B) is None


def test_answers_are_remembered_for_a_day(store: Store) -> None:
    begin(store)
    finish(store)
    age(store, idempotency.KEPT_SECONDS - 60)
    with store.begin() as session:
        idempotency.purge(session)
    assert begin(store) is not None
    age(store, idempotency.KEPT_SECONDS + 1)
    with store.begin() as session:
        idempotency.purge(session)
    assert begin(store) is None


def test_key_and_work_in_one_transaction_have_one_effect(store: Store) -> None:
    def submit(_: int) -> object:
        with store.begin() as session:
            if earlier := idempotency.begin(session, "k", A):
                return earlier.body
            job = jobs.insert(session, spec={}, spec_sha256="", dataset="", data_sha256="", seed=0)
            idempotency.finish(session, "k", status=202, body={"id": job.id})
            return {"id": job.id}

    with ThreadPoolExecutor(8) as threads:
        bodies = list(threads.map(submit, range(16)))
    with store.read() as session:
        [job_id] = session.scalars(select(Job.id))
        assert session.scalar(select(func.count()).select_from(IdempotencyKey)) == 1
    assert bodies == [{"id": job_id}] * 16
