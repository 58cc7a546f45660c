"""The order of the queue, worked out from its lines: as the table says, and as a plain loop over all jobs finds it."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store.limits import NO_LIMITS, QueueLimits
from service.store.turns import Line, Turns


class Waits(NamedTuple):
    """A queued job; `id` tells who came first."""

    submitter: str
    priority: int
    id: int


def lines_of(jobs: Sequence[Waits]) -> list[Line]:
    ordered = sorted(jobs, key=lambda job: (job.submitter, job.priority, job.id))
    grouped = [list(group) for _, group in groupby(ordered, key=lambda job: (job.submitter, job.priority))]
    return [Line(g[0].submitter, g[0].priority, f"{g[0].id:04}", len(g)) for g in grouped]


def order(
    jobs: Sequence[Waits], running: dict[str, int], served: dict[str, int], limits: QueueLimits
) -> tuple[list[Waits], list[Waits]]:
    """The jobs that can be claimed, in order, and then those that a limit holds back."""
    turns = Turns(lines_of(jobs), running, served, limits)
    left = {line: sorted(j for j in jobs if (j.submitter, j.priority) == line[:2]) for line in {j[:2] for j in jobs}}
    claimable = [left[line.submitter, line.priority].pop(0) for line in turns.claimable()]
    return claimable, [left[line.submitter, line.priority].pop(0) for line in turns.held()]


def reference(
    jobs: Sequence[Waits], running: dict[str, int], served: dict[str, int], limits: QueueLimits
) -> tuple[list[Waits], list[Waits]]:
    """The same by the rule alone: again and again, the best of all jobs."""
    waiting, busy, last = list(jobs), Counter(running), dict(served)
    parts: tuple[list[Waits], list[Waits]] = ([], [])
    for part, within in zip(parts, (limits, NO_LIMITS), strict=True):
        while may := [j for j in waiting if within.admit_run(busy.total(), busy[j.submitter])]:
            best = min(may, key=lambda j: (-j.priority, busy[j.submitter], last.get(j.submitter, 0), j.id))
            waiting.remove(best)
            busy[best.submitter] += 1
            last[best.submitter] = max(last.values(), default=0) + 1
            part.append(best)
    return parts


def queue(text: str) -> list[Waits]:
    """Read "a a b+5": the jobs in the order in which they came, `+5` and `-5` being priorities."""
    found = []
    for number, word in enumerate(text.split(), 1):
        at = next((i for i, letter in enumerate(word) if letter in "+-"), len(word))
        found.append(Waits(word[:at], int(word[at:] or 0), number))
    return found


@pytest.mark.parametrize(
    ("jobs", "running", "served", "limits", "expected"),
    [
        ("a a a", {}, {}, {}, [1, 2, 3]),
        ("a a+1 a-1 a+1", {}, {}, {}, [2, 4, 1, 3]),
        ("a a a b", {}, {}, {}, [1, 4, 2, 3]),
        ("a a b b c", {}, {}, {}, [1, 3, 5, 2, 4]),
        ("a b", {"a": 1}, {}, {}, [2, 1]),
        ("a a a b", {"b": 1}, {}, {}, [1, 4, 2, 3]),
        ("a b c", {}, {"a": 3, "b": 1, "c": 2}, {}, [2, 3, 1]),
        ("a b c", {}, {"a": 3, "b": 1}, {}, [3, 2, 1]),
        ("a b+1", {"b": 9}, {}, {}, [2, 1]),
        ("a+1 b+1 a b", {"b": 1}, {}, {}, [1, 2, 3, 4]),
        # Both have two jobs then, and it is longer ago that b was served: all of its own had the higher priority.
        ("b+2 b+2 a+1 a b", {"a": 1}, {}, {}, [1, 2, 3, 5, 4]),
        ("a a a b", {}, {}, {"running_each": 1}, [1, 4, 2, 3]),
        ("a+9 a+9 b", {}, {}, {"running_each": 1}, [1, 3, 2]),
        ("a b b", {"a": 1}, {}, {"running_each": 1}, [2, 1, 3]),
        ("a b c", {"d": 2}, {}, {"running": 3}, [1, 2, 3]),
    ],
)
def test_whose_turn_it_is(
    jobs: str, running: dict[str, int], served: dict[str, int], limits: dict[str, int], expected: list[int]
) -> None:
    claimable, held = order(queue(jobs), running, served, QueueLimits(**limits))
    assert [job.id for job in claimable + held] == expected


@pytest.mark.parametrize(
    ("limits", "running", "claimable"),
    [({}, {}, 4), ({"running_each": 1}, {}, 2), ({"running_each": 1}, {"a": 1}, 1), ({"running": 3}, {"z": 2}, 1),
     ({"running": 3}, {"z": 3}, 0), ({"running": 3, "running_each": 2}, {"a": 2}, 1)],
)  # fmt: skip
def test_how_many_may_run(limits: dict[str, int], running: dict[str, int], claimable: int) -> None:
    assert len(order(queue("a a b b"), running, {}, QueueLimits(**limits))[0]) == claimable


def test_one_job_of_another_runs_second_behind_fifty() -> None:
    claimable, _ = order(queue("a " * 50 + "b"), {}, {}, NO_LIMITS)
    assert [job.id for job in claimable[:3]] == [1, 51, 2]


names = st.sampled_from("abcd")
queues = st.lists(st.tuples(names, st.integers(-2, 2)), max_size=30).map(
    lambda found: [Waits(submitter, priority, number) for number, (submitter, priority) in enumerate(found, 1)]
)
turns = st.permutations("abcd").map(lambda names: {name: number for number, name in enumerate(names, 1)})


@given(
    jobs=queues,
    running=st.dictionaries(names, st.integers(1, 4)),
    served=turns,
    never=st.sets(names),
    limits=st.builds(QueueLimits, running=st.integers(0, 12), running_each=st.integers(0, 5)),
)
def test_the_order_is_that_of_the_rule(
    jobs: list[Waits], running: dict[str, int], served: dict[str, int], never: set[str], limits: QueueLimits
) -> None:
    known = {name: number for name, number in served.items() if name not in never}
    assert order(jobs, running, known, limits) == reference(jobs, running, known, limits)
