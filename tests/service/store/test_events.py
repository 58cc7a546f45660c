"""The story of a job: in order, complete, and never read with a gap."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from service.store import events
from service.store.engine import Store
from service.store.tables import Job


def test_events_come_back_in_their_order(store: Store, new_job: Callable[..., Job]) -> None:
    job, other = new_job(), new_job()
    with store.begin() as session:
        events.add(session, job.id, "note", "One.", attempt=2, level="warn", data={"a": [1]})
        events.add(session, other.id, "note", "Of another.")
        events.add(session, job.id, "note", "Two.")
    with store.read() as session:
        queued, one, two = events.since(session, job.id)
        assert [event.message for event in (queued, one, two)] == ["The job is queued.", "One.", "Two."]
        assert (one.attempt, one.level, one.type, one.data) == (2, "warn", "note", {"a": [1]})
        assert (two.attempt, two.level, two.data) == (0, "info", None)
        assert [event.id for event in events.since(session, job.id, one.id)] == [two.id]
        assert [event.id for event in events.since(session, job.id, queued.id, limit=1)] == [one.id]
        assert list(events.since(session, job.id, two.id)) == []


def test_who_follows_the_numbers_misses_no_event(store: Store, new_job: Callable[..., Job]) -> None:
    """Numbers are drawn before a commit: without a lock a later number could become visible first."""
    job, done = new_job(), threading.Event()

    def write(number: int) -> None:
        for at in range(15):
            with store.begin() as session:
                events.add(session, job.id, "note", f"{number}/{at}")

    def follow() -> list[str]:
        seen, last = [], 0
        while True:
            ending = done.is_set()
            with store.read() as session:
                found = events.since(session, job.id, last)
            seen += [event.message for event in found]
            last = found[-1].id if found else last
            if ending:
                return seen

    with ThreadPoolExecutor(5) as threads:
        reader = threads.submit(follow)
        list(threads.map(write, range(4)))
        done.set()
    assert len(reader.result()) == 1 + 4 * 15
