"""The queue on real databases: who is claimed by whom, in which order, and how many may wait and run."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from service.errors import QueueFull
from service.store import commands, events, extensions, jobs, queueing, waiting, workers
from service.store.blobs import write_blob
from service.store.checkpoints import insert as insert_checkpoint
from service.store.clock import now
from service.store.engine import Store
from service.store.limits import NO_LIMITS, QueueLimits
from service.store.tables import Job, Turn, Worker

NewJob = Callable[..., Job]


def claim(store: Store, kind: str | None = None, limits: QueueLimits = NO_LIMITS) -> Job | None:
    with store.begin() as session:
        return jobs.claim(session, "w", 30, kind, limits)


def claim_all(store: Store, kind: str | None = None, limits: QueueLimits = NO_LIMITS) -> list[str]:
    return list(iter(lambda: getattr(claim(store, kind, limits), "id", ""), ""))


def end(store: Store, job: Job) -> None:
    with store.begin() as session:
        jobs.fail(session, job.id, job.attempt, "code", "Why.")


def beat(store: Store, device: str) -> None:
    with store.begin() as session:
        workers.beat(session, device, host="h", pid=1, slots=1, device=device)


def places(store: Store, ids: Sequence[str], limits: QueueLimits = NO_LIMITS) -> list[int]:
    with store.read() as session:
        found = waiting.places(session, ids, limits)
        return [found[job_id].position for job_id in ids]


# The order


def test_one_job_of_another_submitter_is_second_behind_fifty(store: Store, new_job: NewJob) -> None:
    many = [new_job(submitter="a").id for _ in range(50)]
    one = new_job(submitter="b").id
    assert places(store, [many[0], one, many[1], many[49]]) == [1, 2, 3, 51]
    assert [getattr(claim(store), "id", None) for _ in range(3)] == [many[0], one, many[1]]


def test_whoever_was_served_least_recently_is_next(store: Store, new_job: NewJob) -> None:
    for name in ("a", "b", "a", "b", "a"):
        new_job(submitter=name)
    served = []
    while (job := claim(store)) is not None:
        served.append(job.submitter)
        end(store, job)
    assert served == ["a", "b", "a", "b", "a"]
    new_job(submitter="a")
    new_job(submitter="b")
    again = claim(store)
    assert again is not None and again.submitter == "b"


def test_a_job_cancelled_under_the_claim_is_passed_over(postgres_store: Store) -> None:
    """The claim waits for the transaction that cancels the best job, and takes the next one then."""
    with postgres_store.begin() as session:
        row = {"spec": {}, "spec_sha256": "", "dataset": "", "data_sha256": "", "seed": 0}
        made = [jobs.insert(session, **row).id for _ in range(2)]  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as threads:
        with postgres_store.begin() as session:
            commands.give(session, made[0], "cancel")
            claimed = threads.submit(claim, postgres_store)
            with pytest.raises(TimeoutError):
                claimed.result(0.3)
        job = claimed.result(20)
    assert job is not None and job.id == made[1]


mixes = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(-1, 1), st.sampled_from(["auto", "cpu", "cuda"])), max_size=12
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(mix=mixes, ends=st.lists(st.booleans(), min_size=12, max_size=12), each=st.integers(0, 2))
def test_claims_follow_the_rule_and_places_tell_them(
    store: Store, mix: list[tuple[str, int, str]], ends: list[bool], each: int
) -> None:
    limits = QueueLimits(running_each=each)
    with store.begin() as session:
        session.execute(delete(Job))
        session.execute(delete(Turn))
        workers.beat(session, "w", host="h", pid=1, slots=1, device="cpu")
        made = [
            jobs.insert(session, spec={}, spec_sha256="", dataset="", data_sha256="", seed=0, submitter=submitter,
                        priority=priority, device=device)
            for submitter, priority, device in mix
        ]  # fmt: skip
    left = {job.id: job for job in made if job.device != "cuda"}
    told = places(store, list(left), limits)
    assert sorted(told) == list(range(1, len(left) + 1))
    predicted = sorted(left, key=lambda job_id: told[list(left).index(job_id)])
    busy: list[Job] = []
    served: dict[str, int] = {}
    for turn, over in enumerate(ends, 1):
        count = {name: sum(job.submitter == name for job in busy) for name in "abc"}
        may = [job for job in left.values() if not each or count[job.submitter] < each]
        rank = {j.id: (-j.priority, count[j.submitter], served.get(j.submitter, 0), j.id) for j in may}
        job = claim(store, "cpu", limits)
        assert (job and job.id) == min(rank, key=rank.__getitem__, default=None)
        if job is None:
            break
        if not any(ends[: turn - 1]):
            assert job.id == predicted[turn - 1]
        del left[job.id]
        busy.append(job)
        served[job.submitter] = turn
        if over:
            end(store, busy.pop(0))


# Devices


def test_slots_take_what_suits_them(store: Store, new_job: NewJob) -> None:
    cuda, cpu, auto = (new_job(device=device).id for device in ("cuda", "cpu", "auto"))
    assert claim_all(store, "cpu") == [cpu, auto]
    assert claim_all(store, "cpu") == []
    assert claim_all(store, "cuda") == [cuda]


def test_an_auto_job_goes_to_either(store: Store, new_job: NewJob) -> None:
    ids = [new_job(device="auto").id for _ in range(2)]
    assert [getattr(claim(store, kind), "id", None) for kind in ("cuda", "cpu")] == ids


def test_places_are_those_among_rivals(store: Store, new_job: NewJob) -> None:
    beat(store, "cpu")
    cuda, cpu, auto, late = (new_job(device=device).id for device in ("cuda", "cpu", "auto", "cuda"))
    assert places(store, [cuda, cpu, auto, late]) == [1, 1, 2, 3]
    new_job(device="cpu", priority=1)
    assert places(store, [cuda, cpu, auto, late]) == [1, 2, 3, 3]
    beat(store, "cuda")
    assert places(store, [auto]) == [2]  # among those of the GPU, where it has the better place


def test_a_job_says_what_it_waits_for(store: Store, new_job: NewJob) -> None:
    def reason(job: Job, limits: QueueLimits = NO_LIMITS) -> str | None:
        with store.read() as session:
            return waiting.places(session, [job.id], limits)[job.id].reason

    auto, cpu = new_job(), new_job(device="cpu")
    assert str(reason(auto)).startswith("No worker is alive")
    beat(store, "cpu")
    cuda = new_job(device="cuda")
    assert (reason(auto), reason(cpu)) == (None, None)
    assert "no living worker has a slot on a gpu" in str(reason(cuda)).lower()
    beat(store, "cuda")
    assert reason(cuda) is None
    with store.begin() as session:
        session.execute(update(Worker).values(heartbeat_at=now() - workers.ALIVE_SECONDS - 1))
    assert "slot on a CPU" in str(reason(cpu))
    beat(store, "cpu")
    assert claim(store, "cpu") is not None
    assert reason(cpu, QueueLimits(running=1)) == "Jobs at work: 1, as many as may be at the same time."
    assert "submitter 'anonymous'" in str(reason(cpu, QueueLimits(running_each=1)))
    assert reason(cpu, QueueLimits(running=2, running_each=2)) is None


def test_a_job_that_nobody_can_take_is_queued_with_a_warning(store: Store, new_job: NewJob) -> None:
    beat(store, "cpu")
    for device, types in (("auto", ["queued"]), ("cpu", ["queued"]), ("cuda", ["queued", "no_slot"])):
        job = new_job(device=device)
        with store.read() as session:
            found = events.since(session, job.id)
        assert [event.type for event in found] == types
    assert (found[-1].level, found[-1].data) == ("warn", {"device": "cuda", "devices": 1})


def test_a_job_for_several_gpus_waits_for_a_slot_of_as_many(store: Store, new_job: NewJob) -> None:
    beat(store, "cuda")
    asking = {asked: new_job(device=asked) for asked in ("4xcuda", "2xauto", "cuda", "2xcpu")}
    with store.read() as session:
        places = waiting.places(session, [job.id for job in asking.values()])
    reasons = {asked: places[job.id].reason for asked, job in asking.items()}
    assert reasons["cuda"] is None and "slot on a CPU" in str(reasons["2xcpu"])
    assert "a slot of 4 GPUs: the job" in str(reasons["4xcuda"])
    assert str(reasons["4xcuda"]).endswith("TRAINYARD_DEVICES=cuda:0+cuda:1+cuda:2+cuda:3.")
    assert "a slot of 2 GPUs or on a CPU: the job" in str(reasons["2xauto"])
    assert claim_all(store, "cuda") == [asking["cuda"].id]
    assert claim_all(store, "2xcuda") == [asking["2xauto"].id]
    beat(store, "4xcuda")
    with store.read() as session:
        assert waiting.places(session, [asking["4xcuda"].id])[asking["4xcuda"].id].reason is None
    assert claim_all(store, "4xcuda") == [asking["4xcuda"].id]
    assert claim_all(store, "cpu") == [asking["2xcpu"].id]


# Limits on jobs at work


def test_a_submitter_at_the_limit_is_passed_over(store: Store, new_job: NewJob) -> None:
    limits = QueueLimits(running_each=1)
    a, b = [new_job(submitter="a", priority=9).id for _ in range(2)], new_job(submitter="b").id
    assert claim_all(store, limits=limits) == [a[0], b]
    assert places(store, [a[1]], limits) == [1]
    with store.begin() as session:
        jobs.cancelled(session, a[0], 1)
    assert claim_all(store, limits=limits) == [a[1]]


@pytest.mark.parametrize(("limits", "most"), [(QueueLimits(running=3), 3), (QueueLimits(running_each=1), 2)])
def test_claims_at_once_stay_within_the_limit(store: Store, new_job: NewJob, limits: QueueLimits, most: int) -> None:
    """Slots of different kinds: they do not want the same job, so no row keeps them apart."""
    for submitter in "ab" * 4:
        for device in ("cpu", "cuda"):
            new_job(submitter=submitter, device=device)
    start = threading.Barrier(8)

    def work(number: int) -> list[str]:
        start.wait()
        return claim_all(store, ("cpu", "cuda")[number % 2], limits)

    with ThreadPoolExecutor(8) as threads:
        claimed = [job_id for found in threads.map(work, range(8)) for job_id in found]
    assert len(claimed) == most
    with store.read() as session:
        assert sum(queueing.running(session).values()) == most


# Limits on jobs that wait


def submit(store: Store, submitter: str, limits: QueueLimits) -> bool:
    """Queue a job the way a request does; False when the queue is full."""
    try:
        with store.begin() as session:
            queueing.admit(session, submitter, limits)
            jobs.insert(session, spec={}, spec_sha256="", dataset="", data_sha256="", seed=0, submitter=submitter)
    except QueueFull:
        return False
    return True


@pytest.mark.parametrize(
    ("limits", "fit"),
    [(QueueLimits(queued=5), 5), (QueueLimits(queued_each=3), 6), (QueueLimits(queued=4, queued_each=3), 4)],
)
def test_submits_at_once_stay_within_the_limit(store: Store, limits: QueueLimits, fit: int) -> None:
    start = threading.Barrier(8)

    def work(number: int) -> int:
        start.wait()
        return sum(submit(store, "ab"[number % 2], limits) for _ in range(4))

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(work, range(8))) == fit
    with store.read() as session:
        assert len(session.scalars(select(Job.id)).all()) == fit


def test_what_is_full_says_so_and_has_room_again(store: Store) -> None:
    assert submit(store, "a", QueueLimits(queued=1))
    with pytest.raises(QueueFull, match="Jobs queued: 1,"), store.begin() as session:
        queueing.admit(session, "b", QueueLimits(queued=1))
    with pytest.raises(QueueFull, match="of submitter 'a'"), store.begin() as session:
        queueing.admit(session, "a", QueueLimits(queued_each=1))
    assert submit(store, "b", QueueLimits(queued_each=1))
    assert claim_all(store)
    assert submit(store, "a", QueueLimits(queued=1))


@pytest.mark.parametrize(("before", "command"), [("pause", "resume"), ("cancel", "retry")])
def test_joining_the_queue_again_counts(
    store: Store, new_job: NewJob, new_dataset: Callable[..., Any], before: str, command: str
) -> None:
    job = new_job(dataset=new_dataset().id)
    with store.begin() as session:
        commands.give(session, job.id, before)
    new_job()
    with pytest.raises(QueueFull), store.begin() as session:
        commands.give(session, job.id, command, QueueLimits(queued_each=1))
    with store.begin() as session:
        assert commands.give(session, job.id, command, QueueLimits(queued_each=2)).status == "queued"


def test_what_a_worker_gives_back_is_never_refused(store: Store, new_run: NewJob, new_job: NewJob) -> None:
    run, full = new_run(), QueueLimits(queued=1, queued_each=1)
    new_job()
    assert not submit(store, "anonymous", full)
    with store.begin() as session:
        assert jobs.give_back(session, run.id, 1) == "queued"
        assert jobs.claim(session, "w", -1, limits=full) is not None
        assert jobs.recover(session, 3) == [run.id]


def test_turns_of_submitters_without_a_job_are_forgotten(store: Store, new_job: NewJob) -> None:
    gone, kept = new_job(submitter="gone"), new_job(submitter="kept")
    claim_all(store)
    end(store, gone)
    with store.begin() as session:
        jobs.fail(session, gone.id, 1, "code", "Why.")
        jobs.delete(session, gone.id)
        queueing.forget_turns(session)
        assert session.scalars(select(Turn.submitter)).all() == [kept.submitter]


def test_a_longer_run_belongs_to_the_parents_submitter_and_counts(
    store: Store, new_run: NewJob, new_dataset: Callable[..., Any]
) -> None:
    dataset = new_dataset()
    spec = {"name": None, "priority": 7, "training": {"device": "cpu"}}
    run = new_run(submitter="a", dataset=dataset.id, data_sha256=dataset.sha256)
    blob = write_blob(store, [b"weights"])
    with store.begin() as session:
        insert_checkpoint(session, job=run.id, attempt=1, epoch=1, step=1, blob=blob, state={}, metrics={})
        jobs.succeed(session, run.id, 1, "mdl_x", {})
    full = QueueLimits(queued_each=1)
    for asking, expected in ((None, "a"), ("b", "b")):
        sha = (expected * 64)[:64]
        with store.begin() as session:
            made = extensions.extend(
                session, run.id, spec=spec, spec_sha256=sha, epochs=2, submitter=asking, limits=full
            )
            assert (made.submitter, made.priority, made.device) == (expected, 7, "cpu")
    with pytest.raises(QueueFull), store.begin() as session:
        extensions.extend(session, run.id, spec=spec, spec_sha256="c" * 64, epochs=3, limits=full)
