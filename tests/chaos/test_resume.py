"""Specifications, steps and kinds of interruption drawn at random: the run ends with the bits of an undisturbed one."""

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from service.settings import Settings
from service.store import commands, engine, jobs
from service.store.engine import Store
from service.store.tables import Dataset
from tests.chaos.drawn import drawn
from tests.worker.conftest import AtStep, _not_draining, at_step, settings, wine
from tests.worker.runs import attempt, outcome, queue
from worker import draining

__all__ = ["_not_draining", "at_step", "settings", "wine"]
SEEDS = range(200 * int(os.environ.get("CHAOS_ROUNDS", "0")) or 6)
LOCKED_SECONDS = 0.6
Interrupt = Callable[[Store, str, int], None]


def give_back(store: Store, job_id: str, number: int) -> None:
    """What SIGTERM does."""
    draining.drain()


def lose(store: Store, job_id: str, number: int) -> None:
    """What SIGKILL does: no checkpoint, and another attempt takes over."""
    with store.begin() as session:
        jobs.lose(session, job_id, number, 100, "a test took it.")


def pause(store: Store, job_id: str, number: int) -> None:
    """What a client does."""
    with store.begin() as session:
        commands.give(session, job_id, "pause")


def lock(store: Store, job_id: str, number: int) -> None:
    """A database that does not answer for a while."""
    held = threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(str(store.engine.url.database), isolation_level=None, timeout=10)
        connection.execute("BEGIN IMMEDIATE")
        held.set()
        time.sleep(LOCKED_SECONDS)
        connection.execute("ROLLBACK")
        connection.close()

    threading.Thread(target=hold).start()
    held.wait()


KINDS: list[Interrupt] = [give_back, lose, pause, lock]


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_interrupts_a_run_it_ends_with_the_same_bits(
    seed: int,
    sqlite_store: Store,
    settings: Settings,
    wine: Dataset,
    at_step: AtStep,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = random.Random(seed)
    spec: dict[str, Any] = drawn(draw, epochs=6)
    whole = queue(sqlite_store, wine, spec)
    steps = attempt(sqlite_store, settings, whole).step

    broken = queue(sqlite_store, wine, spec)
    story: list[tuple[str, int]] = []
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.2)
    while True:
        kind, step = draw.choice(KINDS), draw.randrange(steps)
        number = len([name for name, _ in story if name != "lock"]) + 1
        story.append((kind.__name__, step))
        at_step(step, lambda kind=kind, number=number: _once(at_step, kind, sqlite_store, broken, number))  # type: ignore[misc]
        job = attempt(sqlite_store, settings, broken)
        draining.resume()
        if job.status == "paused":
            with sqlite_store.begin() as session:
                commands.give(session, broken, "resume")
        elif job.status == "succeeded":
            break
        assert len(story) < 60, story
        if len(story) >= 3:
            at_step(-1, draining.drain)
            assert attempt(sqlite_store, settings, broken).status == "succeeded", story
            break
    assert outcome(sqlite_store, broken) == outcome(sqlite_store, whole), story


def _once(at_step: AtStep, kind: Interrupt, store: Store, job_id: str, number: int) -> None:
    """Interrupt, and do not do so again when the run comes by the same step once more."""
    at_step(-1, draining.drain)
    kind(store, job_id, number)
