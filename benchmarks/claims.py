"""How long a claim takes, and a look at a job's place, while 10,000 jobs wait.

    python benchmarks/claims.py [DATABASE_URL]

An empty database, which is migrated and filled; default: SQLite in a temporary folder.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable

from sqlalchemy import delete, insert

from service.ids import new_id
from service.store import jobs, waiting
from service.store.engine import Store, open_store
from service.store.schema import upgrade
from service.store.tables import Job, Turn

JOBS = 10_000
SPEC = {"about as long as one": "x" * 1500}


def fill(store: Store, submitters: int) -> list[str]:
    """Queue jobs of so many submitters; every eighth has a priority, every fourth asks for a CPU. Return their ids."""
    fixed = {"spec": SPEC, "spec_sha256": "0" * 64, "dataset": "ds_", "data_sha256": "0" * 64, "seed": 0}
    rows = [
        {**fixed, "id": new_id("job"), "submitter": f"s{number * 7919 % submitters}",
         "priority": 5 * (number % 8 == 0), "device": "cpu" if number % 4 == 1 else "auto"}
        for number in range(JOBS)
    ]  # fmt: skip
    with store.begin() as session:
        session.execute(delete(Job))
        session.execute(delete(Turn))
        session.execute(insert(Job), rows)
    return [str(row["id"]) for row in rows]


def milliseconds(call: Callable[[], object], times: int = 50) -> str:
    """Return the median and the longest time of a call."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - began))
    return f"{statistics.median(found):6.1f} (at most {max(found):.1f})"


def measure(store: Store, submitters: int) -> None:
    """Print a line of figures."""
    ids = fill(store, submitters)

    def claim() -> None:
        with store.begin() as session:
            assert jobs.claim(session, "benchmark", 30, "cpu") is not None

    def look() -> None:
        with store.read() as session:
            assert waiting.places(session, ids[-1:])

    print(f"{submitters:10,}  {milliseconds(claim):24}  {milliseconds(look):24}")


def main(url: str) -> None:
    """Measure with few and with many submitters."""
    upgrade(url)
    store = open_store(url)
    print(f"{JOBS:,} jobs queued, in {store.engine.dialect.name}; milliseconds")
    print(f"{'submitters':10}  {'claim':24}  {'place of the last':24}")
    for submitters in (1, 20, 2000):
        measure(store, submitters)
    store.dispose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder}/claims.db")
