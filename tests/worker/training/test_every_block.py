"""Every block of the language, in a run that is given back in the middle of an epoch: the same bits come out."""

from pathlib import Path

import pytest

from service.settings import Settings
from service.store.engine import Store
from tests.support.every_block import DATA, STEPS, Case, cases
from tests.worker.conftest import AtStep
from tests.worker.runs import attempt, outcome, put, queue
from worker import draining


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_disturbed_run_ends_with_the_bits_of_an_undisturbed_one(
    case: Case, sqlite_store: Store, settings: Settings, tmp_path: Path, at_step: AtStep
) -> None:
    kind, content = DATA[case.data]
    data = put(sqlite_store, tmp_path / "data", content, kind)
    whole, broken = (queue(sqlite_store, data, case.spec) for _ in range(2))
    job = attempt(sqlite_store, settings, whole)
    assert job.step == STEPS or case.name.startswith("pretraining"), job.error_message
    at_step(7, draining.drain)
    assert attempt(sqlite_store, settings, broken).status == "queued"
    draining.resume()
    at_step(-1, draining.drain)
    attempt(sqlite_store, settings, broken)
    assert outcome(sqlite_store, broken) == outcome(sqlite_store, whole)
