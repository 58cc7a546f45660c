"""Whose turn it is: the order in which queued jobs are claimed, the only place that defines it.

Higher priority goes first. Among equals it is the turn of the submitter who has the fewest jobs running, then of the
one who was served least recently, then of the one whose job came first; a submitter's own jobs of one priority go
first come, first served. Whoever has as many jobs running as the limits allow has to wait.

Jobs of one submitter and one priority are told apart by nothing but their age, so they form a *line*, and the order
is worked out from the lines: ten thousand jobs of a few submitters are a few lines.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, groupby

from service.store.limits import NO_LIMITS, QueueLimits


@dataclass(frozen=True)
class Line:
    """The queued jobs of one submitter with one priority."""

    submitter: str
    priority: int
    first: str
    """Id of the oldest of them."""
    jobs: int


class Turns:
    """The order as it follows from this moment. Working it out plays it forward, so it can be done once."""

    def __init__(
        self, lines: Sequence[Line], running: Mapping[str, int], served: Mapping[str, int], limits: QueueLimits
    ) -> None:
        """Begin with the jobs at work and the number of the last claim, each by submitter; 0 where there is none."""
        self._levels = sorted(lines, key=_priority)
        self._running, self._served, self._limits = Counter(running), dict(served), limits
        self._total = self._running.total()
        self._turns = count(max(served.values(), default=0) + 1)
        self._taken: Counter[Line] = Counter()

    def claimable(self) -> Iterator[Line]:
        """Yield a line for every job that workers with enough slots would claim, one after another, before any ends."""
        for _, level in groupby(self._levels, _priority):
            yield from self._level(list(level))

    def held(self) -> Iterator[Line]:
        """Yield a line for every job behind those: it waits for a limit, in the order in which it would be claimed."""
        self._limits = NO_LIMITS
        yield from self.claimable()

    def _level(self, lines: Sequence[Line]) -> Iterator[Line]:
        """Play the claims of one priority; only the submitter who has just been served changes places."""
        waiting = [(*self._rank(line), line) for line in lines if self._taken[line] < line.jobs]
        heapq.heapify(waiting)
        while waiting:
            line = waiting[0][-1]
            if not self._limits.admit_run(self._total, self._running[line.submitter]):
                return  # all others of this priority have at least as many running
            self._serve(line)
            yield line
            if self._taken[line] < line.jobs:
                heapq.heapreplace(waiting, (*self._rank(line), line))
            else:
                heapq.heappop(waiting)

    def _serve(self, line: Line) -> None:
        self._running[line.submitter] += 1
        self._served[line.submitter] = next(self._turns)
        self._taken[line] += 1
        self._total += 1

    def _rank(self, line: Line) -> tuple[int, int, str]:
        """Return what decides between lines of one priority: the smallest is next."""
        return self._running[line.submitter], self._served.get(line.submitter, 0), line.first


def _priority(line: Line) -> int:
    return -line.priority
