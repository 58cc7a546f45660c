"""Deliveries: who may send which, in what order, and who may no longer write what came of it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from service.errors import NotFound
from service.store import deliveries, jobs, outbox, webhooks
from service.store.clock import now
from service.store.engine import Store
from service.store.tables import Job
from service.store.webhook_tables import Delivery, Webhook

NewJob = Callable[..., Job]


@pytest.fixture
def hook(store: Store) -> Webhook:
    return add(store)


def add(store: Store) -> Webhook:
    followed = [f"job.{state}" for state in outbox.STATES]
    with store.begin() as session:
        return webhooks.insert(session, url="https://x.example", events=followed, secret="s", job=None)


def ping(store: Store, hook: Webhook) -> str:
    with store.begin() as session:
        return outbox.ping(session, hook).id


def claim(store: Store, hook: Webhook, lease: float = 30) -> Delivery | None:
    with store.begin() as session:
        claimed = deliveries.claim(session, hook.id, lease)
        return claimed.delivery if claimed else None


def due(store: Store, limit: int = 10, busy: tuple[str, ...] = ()) -> list[str]:
    with store.read() as session:
        return list(deliveries.due(session, limit, busy))


def finish(store: Store, delivery: Delivery | None) -> bool:
    assert delivery is not None
    with store.begin() as session:
        return deliveries.delivered(session, delivery.id, delivery.attempts, 204)


def get(store: Store, hook: Webhook, delivery_id: str) -> Delivery:
    with store.read() as session:
        return deliveries.get(session, hook.id, delivery_id)


def test_a_claim_counts_and_holds(store: Store, hook: Webhook) -> None:
    made = ping(store, hook)
    assert due(store) == [hook.id]
    claimed = claim(store, hook)
    assert claimed is not None and (claimed.id, claimed.attempts) == (made, 1)
    assert claim(store, hook) is None
    assert due(store) == []
    assert finish(store, claimed)
    row = get(store, hook, made)
    assert (row.state, row.last_status, row.last_error, row.next_at) == ("delivered", 204, None, None)
    assert row.finished_at is not None


def test_a_lease_that_ran_out_is_taken_over_and_the_first_holder_writes_nothing(store: Store, hook: Webhook) -> None:
    ping(store, hook)
    first, second = claim(store, hook, lease=-1), claim(store, hook)
    assert first is not None and second is not None and second.attempts == 2
    assert not finish(store, first)
    with store.begin() as session:
        assert not deliveries.refused(session, first.id, 1, 500, "late", None)
    assert get(store, hook, first.id).state == "pending"
    assert finish(store, second)
    assert not finish(store, second)  # it has ended


def test_a_refused_one_waits_for_its_pause_or_has_failed(store: Store, hook: Webhook) -> None:
    made = ping(store, hook)
    claim(store, hook)
    with store.begin() as session:
        assert deliveries.refused(session, made, 1, 500, "no", 60)
    row = get(store, hook, made)
    assert (row.state, row.last_status, row.last_error, row.finished_at) == ("pending", 500, "no", None)
    assert claim(store, hook) is None
    with store.begin() as session:
        waits = session.scalar(select(Delivery.next_at - now()))
        assert waits is not None and 55 < waits <= 60
        session.execute(update(Delivery).values(next_at=now()))
    claim(store, hook)
    with store.begin() as session:
        assert deliveries.refused(session, made, 2, None, "no answer", None)
    row = get(store, hook, made)
    assert (row.state, row.last_status, row.next_at) == ("failed", None, None)
    assert row.finished_at is not None
    assert due(store) == []


def test_those_of_one_job_wait_for_each_other_and_for_no_other(store: Store, hook: Webhook, new_job: NewJob) -> None:
    one = new_job()
    with store.begin() as session:
        assert jobs.claim(session, "w", 30) is not None
    two = new_job()
    claimed = [claim(store, hook) for _ in range(3)]
    assert [(d.job, d.event) if d else None for d in claimed] == [
        (one.id, "job.queued"),
        (two.id, "job.queued"),
        None,  # `running` of the first waits
    ]
    assert due(store) == []
    finish(store, claimed[0])
    later = claim(store, hook)
    assert later is not None and (later.job, later.event) == (one.id, "job.running")


def test_webhooks_do_not_wait_for_each_other(store: Store, hook: Webhook, new_job: NewJob) -> None:
    other = add(store)
    new_job()
    assert claim(store, hook) is not None
    assert due(store) == [other.id]


def test_the_longest_waiting_webhooks_come_first_and_busy_ones_not_at_all(store: Store, hook: Webhook) -> None:
    hooks = [hook, add(store), add(store)]
    for each in reversed(hooks):
        ping(store, each)
        ping(store, each)
    assert due(store) == [each.id for each in reversed(hooks)]
    assert due(store, limit=1) == [hooks[2].id]
    assert due(store, busy=(hooks[2].id, hooks[0].id)) == [hooks[1].id]


def test_many_claim_at_once_and_none_is_given_twice(store: Store, hook: Webhook) -> None:
    made = {ping(store, hook) for _ in range(40)}

    def take(_: int) -> list[str]:
        found = []
        while (delivery := claim(store, hook)) is not None:
            found.append(delivery.id)
        return found

    with ThreadPoolExecutor(6) as threads:
        taken = [delivery for found in threads.map(take, range(6)) for delivery in found]
    assert len(taken) == len(set(taken))
    # One that somebody else was about to take is skipped, never taken twice.
    while (delivery := claim(store, hook)) is not None:
        taken.append(delivery.id)
    assert set(taken) == made and len(taken) == 40


def test_a_delivery_is_found_only_under_its_webhook(store: Store, hook: Webhook) -> None:
    made = ping(store, hook)
    with store.read() as session, pytest.raises(NotFound, match=made):
        deliveries.get(session, add(store).id, made)
    with store.read() as session:
        page = deliveries.list_page(session, hook.id, 10)
    assert [row.id for row in page.rows] == [made]
