"""Every block of the language, in a run that is given back in the middle of an epoch: the same bits come out."""

from collections.abc import Callable

import pytest

from service.settings import Settings
from service.store.engine import Store
from service.store.tables import Dataset
from tests.support.every_block import STEPS, Case, cases
from tests.worker.conftest import AtStep
from tests.worker.runs import attempt, outcome, queue
from worker import draining


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_disturbed_run_ends_with_the_bits_of_an_undisturbed_one(
    case: Case,
    shared_store: Store,
    shared_settings: Settings,
    data_of_blocks: Callable[[str], Dataset],
    at_step: AtStep,
) -> None:
    data = data_of_blocks(case.data)
    whole, broken = (queue(shared_store, data, case.spec) for _ in range(2))
    job = attempt(shared_store, shared_settings, whole)
    assert job.step == STEPS or case.name.startswith("pretraining"), job.error_message
    at_step(7, draining.drain)
    assert attempt(shared_store, shared_settings, broken).status == "queued"
    draining.resume()
    at_step(-1, draining.drain)
    attempt(shared_store, shared_settings, broken)
    assert outcome(shared_store, broken) == outcome(shared_store, whole)
