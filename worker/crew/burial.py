"""What becomes of a job when one of its helpers ends too early."""

from service.store import jobs
from service.store.engine import Store
from service.store.tables import Job
from worker.crew.helpers import Ending
from worker.deaths import death


def bury(store: Store, job: Job, devices: int, max_attempts: int, ending: Ending) -> None:
    """Give the job back, or end it where the helper said what is wrong with it."""
    where = f"on device {ending.rank + 1} of {devices}"
    with store.begin() as session:
        if ending.code is None:
            reason = f"{where}, {death(ending.pid, ending.exitcode)}"
            jobs.lose(session, job.id, job.attempt, max_attempts, reason)
        else:
            jobs.fail(session, job.id, job.attempt, ending.code, f"It failed {where}: {ending.message}")
