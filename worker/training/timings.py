"""Where the time of a job goes."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Part = Literal["data", "step", "validation", "checkpoint", "other"]
PARTS: tuple[Part, ...] = ("data", "step", "validation", "checkpoint", "other")


class Timings:
    """Seconds by part of the work: every moment belongs to one part, the innermost that was entered.

    "data" is reading the data set and gathering batches; "step" the steps, and waiting for the device; "validation"
    measuring on rows that are held out, and calibration; "checkpoint" storing checkpoints and the model; "other" all
    else: building the network, writing metrics. Entering a part and leaving it is two looks at the clock, less than a
    millionth of a second.
    """

    def __init__(self, earlier: Mapping[str, Any] | None = None) -> None:
        """Count from now on, on top of what `values` gave of earlier attempts of the job."""
        known = earlier or {}
        self._seconds: dict[Part, float] = {part: float(known.get(f"{part}_seconds", 0.0)) for part in PARTS}
        self._seconds["other"] = float(known.get("total_seconds", 0.0)) - sum(self._seconds.values())
        self._part: Part = "other"
        self._at = time.perf_counter()

    def enter(self, part: Part) -> Part:
        """Begin a part; return the one that it interrupts."""
        at, before = time.perf_counter(), self._part
        self._seconds[before] += at - self._at
        self._part, self._at = part, at
        return before

    @contextmanager
    def of(self, part: Part) -> Iterator[None]:
        """Count what happens inside the block to a part."""
        before = self.enter(part)
        try:
            yield
        finally:
            self.enter(before)

    def each(self, part: Part, items: Iterable[T]) -> Iterator[T]:
        """Yield items, and count the time that it takes to get them to a part."""
        ahead, enter = iter(items), self.enter
        while True:
            before = enter(part)
            try:
                item = next(ahead)
            except StopIteration:
                return
            finally:
                enter(before)
            yield item

    def add(self, earlier: Mapping[str, Any] | None) -> None:
        """Add what an earlier attempt of the job took."""
        for part, seconds in Timings(earlier)._seconds.items():
            self._seconds[part] += seconds

    def values(self) -> dict[str, float]:
        """Return the seconds so far by part, and all of them together."""
        self.enter(self._part)
        named = {f"{part}_seconds": round(self._seconds[part], 3) for part in PARTS if part != "other"}
        return {**named, "total_seconds": round(sum(self._seconds.values()), 3)}
