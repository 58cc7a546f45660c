"""The queue and who looks after it: real Redis, real databases."""

import time
from pathlib import Path

import pytest
from redis import Redis

from service import reconciler
from service.queue import Queue, queue_of, queues_for
from service.reconciler import Reconciler, reconcile
from service.settings import Settings
from service.store import blobs, events, jobs
from service.store.engine import Store
from service.store.tables import Blob, Chunk


def queue_job(store: Store, device: str = "auto") -> str:
    row = {"spec": {}, "spec_sha256": "0" * 64, "dataset": "ds_" + "0" * 26, "data_sha256": "0" * 64, "seed": 0}
    with store.begin() as session:
        return jobs.insert(session, **row, device=device).id  # type: ignore[arg-type]


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return Settings(database_url=database_url, broker_url=redis_url, max_attempts=2, reconcile_seconds=0.05)


@pytest.fixture
def messages(redis_url: str) -> Queue:
    return Queue(redis_url)


def test_a_message_carries_an_id_and_nothing_else(messages: Queue, redis_socket: Path) -> None:
    assert messages.ping() and messages.enqueue("job_x") and messages.depth() == 1
    with Redis(unix_socket_path=str(redis_socket)) as client:
        assert client.llen(queue_of("auto")) == 1


def test_a_dead_broker_is_only_a_delay(tmp_path: Path) -> None:
    nobody = Queue(f"redis+socket://{tmp_path / 'nobody.sock'}")
    assert nobody.enqueue("job_x") is False
    assert nobody.depth() is None and not nobody.ping()


def test_every_queued_job_gets_one_message_and_not_one_more(
    store: Store, settings: Settings, messages: Queue, redis_socket: Path
) -> None:
    for _ in range(3):
        queue_job(store)
    for _ in range(3):
        reconcile(store, messages, settings)
        assert messages.depth() == 3
    with Redis(unix_socket_path=str(redis_socket)) as client:
        client.flushall()
    reconcile(store, messages, settings)
    assert messages.depth() == 3


def test_messages_go_where_the_device_is(store: Store, settings: Settings, messages: Queue) -> None:
    for device, wanted in (("auto", 1), ("cpu", 2), ("cuda", 3)):
        for _ in range(wanted):
            queue_job(store, device)
    for _ in range(2):
        reconcile(store, messages, settings)
        assert [messages.depth(device) for device in ("auto", "cpu", "cuda")] == [1, 2, 3]
    assert messages.depth() == 6
    assert queues_for("cuda") == ["trainyard.auto", "trainyard.cuda"]


def test_jobs_for_several_devices_share_a_queue_and_each_has_a_message(
    store: Store, settings: Settings, messages: Queue
) -> None:
    for device in ("2xcuda", "4xcuda", "4xcuda", "2xauto"):
        queue_job(store, device)
    for _ in range(2):
        reconcile(store, messages, settings)
        assert [messages.depth(device) for device in ("cuda", "9xcuda", "2xauto")] == [0, 3, 1]
    assert messages.depth() == 4


def test_jobs_that_a_limit_holds_back_get_no_message(store: Store, settings: Settings, messages: Queue) -> None:
    limited = settings.model_copy(update={"max_running_per_submitter": 2})
    for _ in range(4):
        queue_job(store)
    reconcile(store, messages, limited)
    assert messages.depth() == 2
    for _ in range(2):
        with store.begin() as session:
            assert jobs.claim(session, "w", 30) is not None
    with Redis(unix_socket_path=settings.effective_broker_url.partition("://")[2]) as client:
        client.flushall()
    reconcile(store, messages, limited)
    assert messages.depth() == 0


def test_a_job_whose_lease_ran_out_is_queued_again_and_fails_in_the_end(
    store: Store, settings: Settings, messages: Queue
) -> None:
    job_id = queue_job(store)
    for status in ("queued", "failed"):
        with store.begin() as session:
            assert jobs.claim(session, "w", lease_seconds=-1) is not None
        reconcile(store, messages, settings)
        with store.read() as session:
            job = jobs.get(session, job_id)
            assert job.status == status
    assert job.error_code == "attempts_exhausted"
    with store.read() as session:
        assert [e.type for e in events.since(session, job_id)].count("lost") == 2


def test_the_thread_reconciles_and_throws_away_what_nothing_needs(
    store: Store, settings: Settings, messages: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "FIRST_TIDY_SECONDS", 0.0)
    ref = blobs.write_blob(store, [b"nobody refers to this"])
    with store.begin() as session:
        session.get_one(Blob, ref.sha256).touched_at = 0.0
        session.get_one(Chunk, ref.sha256).touched_at = 0.0
    queue_job(store)
    thread = Reconciler(store, messages, settings)
    thread.start()
    deadline = time.monotonic() + 20
    while messages.depth() != 1 or kept(store):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    thread.stop()


def kept(store: Store) -> int:
    with store.read() as session:
        return session.query(Blob).count() + session.query(Chunk).count()
