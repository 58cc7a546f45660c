"""The sender: retries, order, bounds, and nothing that keeps anybody else waiting."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select, text

from service.settings import Settings
from service.store import jobs, outbox
from service.store.engine import Store
from service.store.webhook_tables import Delivery, Webhook
from service.webhooks import sender as sender_module
from service.webhooks.sender import Sender, send_one
from tests.support.real_stack import eventually
from tests.support.receiver import Receiver

NewWebhook = Callable[..., Webhook]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second between two looks is for services; tests only wait for them."""
    monkeypatch.setattr(sender_module, "LOOK_SECONDS", 0.1)


@contextmanager
def sending(store: Store, settings: Settings) -> Iterator[Sender]:
    sender = Sender(store, settings)
    sender.start()
    try:
        yield sender
    finally:
        sender.stop()


def queue_job(store: Store) -> str:
    values = {"spec": {}, "spec_sha256": "0" * 64, "dataset": "ds_x", "data_sha256": "0" * 64, "seed": 0}
    with store.begin() as session:
        return jobs.insert(session, **values).id


def run_job(store: Store) -> str:
    """Take a job through its states, without training."""
    job_id = queue_job(store)
    with store.begin() as session:
        claimed = jobs.claim(session, "w", 30)
        assert claimed is not None and claimed.id == job_id
    with store.begin() as session:
        assert jobs.succeed(session, job_id, 1, "mdl_x", {})
    return job_id


def deliveries_of(store: Store, webhook: Webhook) -> list[Delivery]:
    with store.read() as session:
        query = select(Delivery).where(Delivery.webhook == webhook.id).order_by(Delivery.sequence)
        return list(session.scalars(query))


def states(store: Store, webhook: Webhook) -> list[str]:
    return [delivery.state for delivery in deliveries_of(store, webhook)]


def test_a_job_is_told_in_order_although_the_first_tries_fail(
    store: Store, settings: Settings, new_webhook: NewWebhook, receiver: Receiver, url: str
) -> None:
    hook = new_webhook(url)
    receiver.answers = [500, 503]
    with sending(store, settings):
        run_job(store)
        assert eventually(lambda: states(store, hook) == ["delivered"] * 3, 20)
    told = [message.json["type"] for message in receiver.messages]
    assert told == ["job.queued"] * 3 + ["job.running", "job.succeeded"]
    assert len({message.id for message in receiver.messages}) == 3
    assert len({message.body for message in receiver.messages}) == 3
    assert all(message.is_signed_with(hook.secret) for message in receiver.messages)
    first = deliveries_of(store, hook)[0]
    assert (first.attempts, first.last_status, first.last_error, first.next_at) == (3, 204, None, None)
    assert first.finished_at is not None


def test_a_receiver_that_refuses_for_good_is_given_up_and_the_next_message_follows(
    store: Store, settings: Settings, new_webhook: NewWebhook, receiver: Receiver, url: str
) -> None:
    hook = new_webhook(url)
    receiver.answers = [500] * settings.webhook_tries
    with sending(store, settings):
        run_job(store)
        assert eventually(lambda: states(store, hook) == ["failed", "delivered", "delivered"], 20)
    failed = deliveries_of(store, hook)[0]
    assert (failed.attempts, failed.last_status) == (settings.webhook_tries, 500)
    assert "500" in (failed.last_error or "")
    assert len(receiver.messages) == settings.webhook_tries + 2


def test_a_receiver_that_hangs_is_left_and_tried_again(
    store: Store, settings: Settings, new_webhook: NewWebhook, receiver: Receiver, url: str
) -> None:
    hook = new_webhook(f"{url}/hang")
    impatient = settings.model_copy(update={"webhook_seconds": 0.3, "webhook_retry_seconds": 0.3})
    with sending(store, impatient):
        queue_job(store)
        assert eventually(lambda: len(receiver.messages) == 2, 20)
        receiver.held.set()
        assert eventually(lambda: states(store, hook) == ["delivered"], 20)
    assert len({message.id for message in receiver.messages}) == 1


def test_receivers_that_hang_hold_up_nobody(
    store: Store, settings: Settings, new_webhook: NewWebhook, receiver: Receiver, url: str
) -> None:
    """Neither another webhook, nor a change of state, nor the end of the process's sender."""
    patient = settings.model_copy(update={"webhook_seconds": 60.0, "webhook_senders": 3})
    for _ in range(2):
        new_webhook(f"{url}/hang")
    quick = new_webhook(f"{url}/quick")
    with sending(store, patient):
        started = time.monotonic()
        for _ in range(5):
            run_job(store)
        assert eventually(lambda: states(store, quick) == ["delivered"] * 15, 30)
        hanging = [message for message in receiver.messages if message.path == "/hang"]
        assert len(hanging) == 2  # one at a time to each, whatever else is due
        ending = time.monotonic()
    assert time.monotonic() - ending < 3
    assert time.monotonic() - started < 40


def test_many_receivers_that_hang_are_sent_to_within_the_bound(
    store: Store, settings: Settings, new_webhook: NewWebhook, receiver: Receiver, url: str
) -> None:
    patient = settings.model_copy(update={"webhook_seconds": 60.0, "webhook_senders": 2})
    for _ in range(6):
        new_webhook(f"{url}/hang")
    with sending(store, patient):
        queue_job(store)
        assert eventually(lambda: len(receiver.messages) == 2, 20)
        time.sleep(5 * sender_module.LOOK_SECONDS)
        assert len(receiver.messages) == 2
        receiver.held.set()
        assert eventually(lambda: len(receiver.messages) == 6, 20)


def test_two_processes_send_everything_once(
    store: Store, settings: Settings, new_webhook: NewWebhook, receiver: Receiver, url: str
) -> None:
    hook = new_webhook(url)
    with sending(store, settings), sending(store, settings):
        for _ in range(10):
            run_job(store)
        assert eventually(lambda: states(store, hook) == ["delivered"] * 30, 40)
    assert len(receiver.messages) == len({message.id for message in receiver.messages}) == 30


def test_what_a_sender_that_died_had_claimed_is_sent_when_its_lease_ends(
    store: Store,
    settings: Settings,
    new_webhook: NewWebhook,
    receiver: Receiver,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = new_webhook(url)
    queue_job(store)

    def die(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(sender_module, "LEASE_MARGIN_SECONDS", -settings.webhook_seconds + 0.2)
    with monkeypatch.context() as dying, pytest.raises(SystemExit):
        dying.setattr(sender_module, "_note", die)
        send_one(store, settings, hook.id)
    assert not send_one(store, settings, hook.id)  # it is held
    assert eventually(lambda: send_one(store, settings, hook.id), 10)
    assert [message.id for message in receiver.messages] == [receiver.messages[0].id] * 2
    assert states(store, hook) == ["delivered"]


def test_a_process_may_send_nothing(
    store: Store, settings: Settings, new_webhook: NewWebhook, receiver: Receiver, url: str
) -> None:
    hook = new_webhook(url)
    queue_job(store)
    with sending(store, settings.model_copy(update={"webhook_senders": 0})):
        time.sleep(0.3)
    assert (states(store, hook), receiver.messages) == (["pending"], [])


def test_a_database_that_breaks_is_survived(
    sqlite_store: Store,
    settings: Settings,
    receiver: Receiver,
    url: str,
    caplog: pytest.LogCaptureFixture,
    new_webhook_in: Callable[[Store, str], Webhook],
) -> None:
    hook = new_webhook_in(sqlite_store, url)
    rename(sqlite_store, "webhook_deliveries", "elsewhere")
    with sending(sqlite_store, settings):
        assert eventually(lambda: "looking for deliveries failed" in caplog.text, 10)
        rename(sqlite_store, "elsewhere", "webhook_deliveries")
        queue_job(sqlite_store)
        assert eventually(lambda: states(sqlite_store, hook) == ["delivered"], 10)


def rename(store: Store, table: str, name: str) -> None:
    with store.begin() as session:
        session.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))


def test_no_log_holds_a_secret_or_a_path(
    store: Store,
    settings: Settings,
    new_webhook: NewWebhook,
    receiver: Receiver,
    url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    hook = new_webhook(f"{url}/hook-token?key=hook-token")
    receiver.answers = [500]
    with store.begin() as session:
        outbox.ping(session, hook)
    assert send_one(store, settings, hook.id)
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("service"))
    assert hook.id in ours
    assert hook.secret not in caplog.text
    assert "hook-token" not in ours


def test_threads_end_with_what_they_send(
    store: Store, settings: Settings, new_webhook: NewWebhook, receiver: Receiver, url: str
) -> None:
    hook = new_webhook(url)
    with sending(store, settings):
        queue_job(store)
        assert eventually(lambda: states(store, hook) == ["delivered"], 10)
        assert eventually(lambda: not any(t.name == f"to-{hook.id}" for t in threading.enumerate()), 5)


def test_what_is_under_way_at_the_end_is_noted(
    store: Store, settings: Settings, new_webhook: NewWebhook, receiver: Receiver, url: str
) -> None:
    """A restart of the service sends nothing twice that a receiver takes within a second."""
    hook = new_webhook(f"{url}/hang")
    with sending(store, settings):
        queue_job(store)
        assert eventually(lambda: len(receiver.messages) == 1, 10)
        threading.Timer(0.2, receiver.held.set).start()
    assert states(store, hook) == ["delivered"]
