"""The outbox: one delivery for each change of state that is followed, in the same transaction, and no other."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from service.store import commands, deliveries, events, jobs, outbox, upkeep, webhooks
from service.store.engine import Store
from service.store.tables import Dataset, Job
from service.store.webhook_tables import Delivery, Webhook

ALL = [f"job.{state}" for state in outbox.STATES]
NewJob = Callable[..., Job]


def hook(store: Store, *followed: str, job: str | None = None) -> Webhook:
    with store.begin() as session:
        return webhooks.insert(session, url="https://x.example", events=followed or ALL, secret="s", job=job)


def told(store: Store, webhook: Webhook) -> list[Delivery]:
    with store.read() as session:
        query = select(Delivery).where(Delivery.webhook == webhook.id).order_by(Delivery.sequence, Delivery.id)
        return list(session.scalars(query))


def names(store: Store, webhook: Webhook) -> list[str]:
    return [delivery.event.removeprefix("job.") for delivery in told(store, webhook)]


def give(store: Store, job_id: str, command: str) -> None:
    with store.begin() as session:
        commands.give(session, job_id, command)


def claim(store: Store) -> Job:
    with store.begin() as session:
        job = jobs.claim(session, "w", 30)
        assert job is not None
        return job


def test_every_change_of_state_is_told_exactly_once(
    store: Store, new_job: NewJob, new_dataset: Callable[..., Dataset]
) -> None:
    every = hook(store)
    job = new_job(dataset=new_dataset().id)
    give(store, job.id, "pause")
    give(store, job.id, "pause")  # again changes nothing
    give(store, job.id, "resume")
    first = claim(store)
    give(store, job.id, "pause")  # `pausing` is on the way
    with store.begin() as session:
        assert jobs.give_back(session, job.id, first.attempt) == "paused"
    give(store, job.id, "resume")
    second = claim(store)
    with store.begin() as session:
        assert jobs.lose(session, job.id, second.attempt, 9, "it died") == "queued"
    third = claim(store)
    with store.begin() as session:
        assert jobs.fail(session, job.id, third.attempt, "non_finite_loss", "x" * 2000)
    give(store, job.id, "retry")
    fourth = claim(store)
    give(store, job.id, "cancel")  # `cancelling` is on the way, too
    with store.begin() as session:
        assert jobs.cancelled(session, job.id, fourth.attempt)
    give(store, job.id, "retry")
    fifth = claim(store)
    with store.begin() as session:
        assert jobs.succeed(session, job.id, fifth.attempt, "mdl_x", {})
    assert names(store, every) == [
        *("queued", "paused", "queued", "running", "paused", "queued", "running", "lost", "queued", "running"),
        *("failed", "queued", "running", "cancelled", "queued", "running", "succeeded"),
    ]


def test_what_is_told_is_what_was_so_then(store: Store, new_job: NewJob) -> None:
    every = hook(store)
    job = new_job(name="wine")
    run = claim(store)
    with store.begin() as session:
        jobs.fail(session, job.id, run.attempt, "non_finite_loss", "x" * 2000)
    queued, running, failed = told(store, every)
    with store.read() as session:
        story = {event.type: event for event in events.since(session, job.id)}
    assert [queued.sequence, running.sequence, failed.sequence] == [
        story[t].id for t in ("queued", "claimed", "failed")
    ]
    assert failed.created_at == story["failed"].created_at
    assert queued.data == {
        "job": job.id,
        "name": "wine",
        "status": "queued",
        "attempt": 0,
        "model": None,
        "error": None,
        "message": "The job is queued.",
        "sequence": queued.sequence,
    }
    assert (running.data["status"], running.data["attempt"]) == ("running", 1)
    cut = "x" * outbox.LONGEST_TEXT + "..."
    assert failed.data["error"] == {"code": "non_finite_loss", "message": cut}
    assert failed.data["message"] == cut
    assert (failed.job, failed.state, failed.attempts) == (job.id, "pending", 0)


def test_success_names_the_model(store: Store, new_run: NewJob) -> None:
    every = hook(store)
    run = new_run()
    with store.begin() as session:
        jobs.succeed(session, run.id, 1, "mdl_x", {})
    assert told(store, every)[-1].data["model"] == "mdl_x"


def test_a_webhook_is_told_of_what_it_follows(store: Store, new_job: NewJob, new_run: NewJob) -> None:
    first = new_job()
    ends, one, other = hook(store, "job.succeeded"), hook(store, job=first.id), hook(store, job="job_other")
    run = claim(store)
    assert run.id == first.id
    with store.begin() as session:
        jobs.succeed(session, first.id, 1, "mdl_x", {})
    new_run()
    assert names(store, ends) == ["succeeded"]
    assert names(store, one) == ["running", "succeeded"]  # it was queued before
    assert names(store, other) == []


def test_what_is_rolled_back_is_not_told(store: Store, new_job: NewJob) -> None:
    every = hook(store)
    job = new_job()
    with pytest.raises(RuntimeError), store.begin() as session:
        assert jobs.claim(session, "w", 30) is not None
        raise RuntimeError
    assert names(store, every) == ["queued"]
    with store.begin() as session:
        assert not jobs.fail(session, job.id, 7, "x", "fenced")
    assert names(store, every) == ["queued"]


def test_other_events_are_not_told(store: Store, new_job: NewJob) -> None:
    every = hook(store)
    job = new_job()
    with store.begin() as session:
        events.add(session, job.id, "early_stopping", "It got no better.")
    assert names(store, every) == ["queued"]


def test_deliveries_go_with_their_webhook_and_stay_without_their_job(store: Store, new_job: NewJob) -> None:
    kept, gone = hook(store), hook(store)
    job = new_job()
    with store.begin() as session:
        webhooks.delete(session, gone.id)
        jobs.delete(session, job.id)
    assert (names(store, kept), names(store, gone)) == (["queued"], [])
    with store.begin() as session:
        claimed = deliveries.claim(session, kept.id, 30)
    assert claimed is not None and claimed.delivery.data["job"] == job.id


def test_a_webhook_deleted_meanwhile_fails_no_change_of_state(store: Store, new_job: NewJob) -> None:
    """Many jobs are queued while their webhooks go away: all of them are, and no delivery is left without a webhook."""
    hooks = [hook(store) for _ in range(20)]

    def delete(webhook: Webhook) -> None:
        with store.begin() as session:
            webhooks.delete(session, webhook.id)

    with ThreadPoolExecutor(6) as threads:
        made = [threads.submit(new_job) for _ in range(60)]
        list(threads.map(delete, hooks))
        assert len({future.result().id for future in made}) == 60
    with store.read() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 0


def test_old_deliveries_are_forgotten_and_pending_ones_never(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "PURGE_AT_ONCE", 3)
    webhook = hook(store)
    old = 1.0
    with store.begin() as session:
        for _ in range(8):
            outbox.ping(session, webhook)
        rows = list(session.scalars(select(Delivery).order_by(Delivery.id)))
        for row, state in zip(rows, ["delivered", "failed"] * 3, strict=False):
            row.state, row.finished_at = state, old
        rows[6].state, rows[6].created_at = "pending", old
        rows[7].state, rows[7].finished_at = "delivered", rows[7].created_at
    upkeep.tidy(store)
    assert [delivery.id for delivery in told(store, webhook)] == [rows[6].id, rows[7].id]


def test_the_documentation_shows_the_fields_that_are_told(store: Store, new_job: NewJob) -> None:
    every = hook(store)
    new_job()
    page = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()
    (shown,) = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL) if '"sequence"' in text]
    assert list(told(store, every)[0].data) == list(shown["data"])
    assert all(f"`{event}`" in page for event in ALL)
