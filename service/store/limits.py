"""How many jobs may wait and run."""

from dataclasses import dataclass
from typing import Self

from service.settings import Settings


@dataclass(frozen=True)
class QueueLimits:
    """Most jobs in the queue and at work, in all and of each submitter; 0: no limit."""

    queued: int = 0
    queued_each: int = 0
    running: int = 0
    running_each: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the limits of these settings."""
        return cls(
            queued=settings.max_queued,
            queued_each=settings.max_queued_per_submitter,
            running=settings.max_running,
            running_each=settings.max_running_per_submitter,
        )

    def admit_run(self, running: int, of_submitter: int) -> bool:
        """Return whether one more job may run beside so many, so many of which are the submitter's own."""
        return (not self.running or running < self.running) and (
            not self.running_each or of_submitter < self.running_each
        )


NO_LIMITS = QueueLimits()
