"""Workers: alive as long as their heart beats."""

from sqlalchemy import update

from service.store import workers
from service.store.clock import now
from service.store.engine import Store
from service.store.tables import Worker


def beat(store: Store, name: str, slots: int = 1) -> None:
    with store.begin() as session:
        workers.beat(session, name, host="h", pid=7, slots=slots)


def silence(store: Store, name: str, seconds: float) -> None:
    with store.begin() as session:
        session.execute(update(Worker).where(Worker.id == name).values(heartbeat_at=now() - seconds))


def alive(store: Store, within: float = 10) -> list[str]:
    with store.read() as session:
        return [worker.id for worker in workers.alive(session, within)]


def test_a_beating_worker_is_alive(store: Store) -> None:
    assert alive(store) == []
    beat(store, "w1")
    beat(store, "w2")
    silence(store, "w1", 11)
    assert alive(store) == ["w2"]
    assert alive(store, 60) == ["w1", "w2"]


def test_beating_again_keeps_when_it_started(store: Store) -> None:
    beat(store, "w1")
    with store.read() as session:
        [first] = workers.alive(session, 10)
    silence(store, "w1", 100)
    beat(store, "w1", slots=3)
    with store.read() as session:
        [again] = workers.alive(session, 10)
    assert (again.started_at, again.host, again.pid, again.slots) == (first.started_at, "h", 7, 3)


def test_workers_leave_or_are_forgotten(store: Store) -> None:
    for name in ("w1", "w2", "w3"):
        beat(store, name)
    silence(store, "w2", 100)
    with store.begin() as session:
        workers.leave(session, "w1")
        workers.forget(session, 60)
    assert alive(store, 1e6) == ["w3"]
