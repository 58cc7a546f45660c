"""Metrics: no point doubled, none lost, and few enough to draw."""

from collections.abc import Callable, Sequence

import pytest
from sqlalchemy.exc import DBAPIError

from service.store import metrics
from service.store.engine import Store
from service.store.metrics import Point
from service.store.tables import Job

NewJob = Callable[..., Job]


def record(store: Store, job: Job, points: Sequence[Point]) -> None:
    with store.begin() as session:
        metrics.record(session, job.id, points)


def query(store: Store, job: Job, **filters: object) -> list[tuple[str, str, int, int, float | None]]:
    with store.read() as session:
        rows = metrics.query(session, job.id, **filters)  # type: ignore[arg-type]
        return [(row.name, row.split, row.epoch, row.step, row.value) for row in rows]


def line(values: Sequence[float | None], name: str = "loss", split: str = "train") -> list[Point]:
    return [Point(name, split, 1, step, value) for step, value in enumerate(values, 1)]


def steps(store: Store, job: Job, **filters: object) -> list[int]:
    return [step for _, _, _, step, _ in query(store, job, **filters)]


def test_what_is_recorded_comes_back_in_the_order_of_steps(store: Store, new_job: NewJob) -> None:
    job = new_job()
    points = [
        Point("loss", "validation", 1, 10, 0.5),
        Point("accuracy", "train", 1, 10, 0.9),
        Point("loss", "train", 0, 5, 1.0),
    ]
    record(store, job, points)
    assert query(store, job) == [
        ("loss", "train", 0, 5, 1.0),
        ("accuracy", "train", 1, 10, 0.9),
        ("loss", "validation", 1, 10, 0.5),
    ]
    with store.read() as session:
        assert all(row.at > 1.7e9 for row in metrics.query(session, job.id))
        assert list(metrics.names(session, job.id)) == [
            ("accuracy", "train"), ("loss", "train"), ("loss", "validation"),
        ]  # fmt: skip


def test_many_points_are_recorded_at_once(store: Store, new_job: NewJob) -> None:
    job = new_job()
    record(store, job, line([0.0] * 1234))
    assert steps(store, job) == list(range(1, 1235))


def test_nothing_to_record_is_nothing(store: Store, new_job: NewJob) -> None:
    job = new_job()
    record(store, job, [])
    assert query(store, job) == []


def test_a_point_measured_again_replaces_the_first(store: Store, new_job: NewJob) -> None:
    job = new_job()
    record(store, job, [Point("loss", "train", 1, 1, 0.5)])
    record(store, job, [Point("loss", "train", 1, 1, 0.4), Point("loss", "train", 2, 1, 0.3)])
    assert query(store, job) == [("loss", "train", 2, 1, 0.3)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None])
def test_what_is_not_finite_is_null(store: Store, new_job: NewJob, value: float | None) -> None:
    job = new_job()
    record(store, job, [Point("loss", "train", 1, 1, value)])
    assert query(store, job) == [("loss", "train", 1, 1, None)]


def test_numbers_keep_every_bit(store: Store, new_job: NewJob) -> None:
    job, values = new_job(), [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 2.0**53 + 2]
    record(store, job, line(values))
    assert [value.hex() for *_, value in query(store, job) if value is not None] == [value.hex() for value in values]


def test_metrics_belong_to_a_job(store: Store) -> None:
    with pytest.raises(DBAPIError, match=r"(?i)foreign key"), store.begin() as session:
        metrics.record(session, "job_x", line([1.0]))


def test_resuming_deletes_what_came_after(store: Store, new_job: NewJob) -> None:
    job, other = new_job(), new_job()
    for each in (job, other):
        record(store, each, line([1.0] * 10))
    with store.begin() as session:
        metrics.delete_after(session, job.id, 6)
    assert steps(store, job) == [1, 2, 3, 4, 5, 6]
    assert len(steps(store, other)) == 10


def test_filters(store: Store, new_job: NewJob) -> None:
    job = new_job()
    record(store, job, line([1.0] * 3) + line([2.0] * 3, "accuracy") + line([3.0] * 3, split="validation"))
    assert {value for *_, value in query(store, job, name="loss")} == {1.0, 3.0}
    assert {value for *_, value in query(store, job, split="train")} == {1.0, 2.0}
    assert query(store, job, name="loss", split="train", since=1) == [
        ("loss", "train", 1, 2, 1.0), ("loss", "train", 1, 3, 1.0),
    ]  # fmt: skip
    assert query(store, job, name="x") == query(store, job, split="x") == query(store, job, since=3) == []


def test_thinning_keeps_the_ends_and_no_more_than_asked(store: Store, new_job: NewJob) -> None:
    job = new_job()
    record(store, job, line([(at * 7) % 31 for at in range(200)]))
    for most in range(1, 40):
        found = steps(store, job, max_points=most)
        assert most * 0.6 <= len(found) <= most
        assert found == sorted(set(found))
        assert found[-1] == 200
        assert found[0] == 1 or most == 1


def test_thinning_keeps_spikes(store: Store, new_job: NewJob) -> None:
    job = new_job()
    values = [1.0 + at / 1000 for at in range(1000)]
    values[333], values[700] = 50.0, -50.0
    record(store, job, line(values))
    found = query(store, job, max_points=20)
    assert len(found) <= 20
    assert {50.0, -50.0} <= {value for *_, value in found}


def test_thinning_counts_every_series_for_itself(store: Store, new_job: NewJob) -> None:
    job = new_job()
    record(store, job, line([1.0] * 100) + line([2.0] * 100, "accuracy") + line([3.0] * 5, split="validation"))
    found = query(store, job, max_points=10)
    counts = {key: sum((n, s) == key for n, s, *_ in found) for key in {(n, s) for n, s, *_ in found}}
    assert counts.pop(("loss", "validation")) == 5
    assert set(counts) == {("loss", "train"), ("accuracy", "train")}
    assert all(2 <= count <= 10 for count in counts.values())


def thinned(values: Sequence[float | None], most: int) -> list[int]:
    """The rule in Python: both ends, and the lowest and the highest of each stretch."""
    stretches: dict[int, list[int]] = {}
    for at in range(len(values)):
        stretches.setdefault(at * ((most - 2) // 2) // len(values), []).append(at)
    kept = {0, len(values) - 1}
    for places in stretches.values():
        kept.add(min(places, key=lambda at: ((value := values[at]) is None, value or 0, at)))
        kept.add(min(places, key=lambda at: ((value := values[at]) is None, -(value or 0), at)))
    return sorted(at + 1 for at in kept)


@pytest.mark.parametrize("most", [4, 7, 12, 100])
def test_thinning_is_the_same_on_both_databases(store: Store, new_job: NewJob, most: int) -> None:
    job = new_job()
    values: list[float | None] = [(at * 37) % 101 for at in range(300)]
    values[95:115] = [None] * 20
    record(store, job, line(values))
    assert steps(store, job, max_points=most) == thinned(values, most)


def test_thinning_what_is_short_changes_nothing(store: Store, new_job: NewJob) -> None:
    job = new_job()
    record(store, job, line([1.0, 2.0, 3.0]))
    assert steps(store, job, max_points=3) == [1, 2, 3]
    assert steps(store, job, max_points=2) == [1, 3]
    assert steps(store, job, since=1, max_points=1) == [3]


def test_thinned_points_are_whole_rows(store: Store, new_job: NewJob) -> None:
    job = new_job()
    record(store, job, line([1.0] * 50))
    with store.read() as session:
        rows = metrics.query(session, job.id, max_points=5)
        assert all(row.at > 1.7e9 and row.epoch == 1 for row in rows)
