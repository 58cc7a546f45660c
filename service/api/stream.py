"""A job's events as they happen: server-sent events that can be resumed and that end with the job."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from service.api.answers.jobs import Event, Progress
from service.api.deps import Backend
from service.errors import NotFound, Unavailable
from service.store import events, jobs
from service.store.tables import Job

EVENT_STREAM = "text/event-stream"
POLL_SECONDS = 0.25
KEEP_ALIVE_SECONDS = 15.0
PAGE = 500


def over(job: Job) -> bool:
    """Return whether a job has ended for good."""
    return job.status in jobs.TERMINAL


def frame(type: str, data: str, number: int | None = None) -> bytes:
    """Return one server-sent event; `number` is what `Last-Event-ID` goes on behind.

    Reference: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {type}\ndata: {data}\n\n".encode()


async def follow(service: Backend, job: str, after: int) -> AsyncIterator[bytes]:
    """Yield the job's events behind number `after`, and its progress, until it ends or the server shuts down.

    A job that is deleted meanwhile ends the stream; a database that does not answer ends it too, and the client's
    `Last-Event-ID` says where the next one goes on.
    """
    progress, spoke = None, time.monotonic()
    while not service.closing.is_set():
        try:
            view = await run_in_threadpool(_look, service, job, after)
        except (NotFound, Unavailable):
            return
        news = [frame(event.type, event.model_dump_json(), event.id) for event in view.events]
        after = view.events[-1].id if view.events else after
        if view.progress != progress:
            progress = view.progress
            news.append(frame("progress", progress.model_dump_json()))
        if time.monotonic() - spoke > KEEP_ALIVE_SECONDS:
            news.append(b": still here\n\n")
        if news:
            spoke = time.monotonic()
            yield b"".join(news)
        if view.complete:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(service.closing.wait(), 0 if len(view.events) == PAGE else POLL_SECONDS)


@dataclass(frozen=True)
class _View:
    """A job at one moment."""

    progress: Progress
    events: list[Event]
    complete: bool
    """Whether nothing can follow these events."""


def _look(service: Backend, job_id: str, after: int) -> _View:
    with service.store.read() as session:
        job = jobs.get(session, job_id)
        found = [Event.of(row) for row in events.since(session, job_id, after, PAGE)]
        return _View(Progress.of(job), found, over(job) and len(found) < PAGE)
