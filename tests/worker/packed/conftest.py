"""Data sets for networks that train together."""

from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from service.spec import JobSpec
from service.store.engine import Store
from tests.support.every_block import DATA, Case
from tests.worker.runs import put
from worker.data import TrainingData, load


@pytest.fixture
def loaded(sqlite_store: Store, settings: Settings, tmp_path: Path) -> Any:
    def of(case: Case) -> tuple[JobSpec, TrainingData]:
        kind, content = DATA[case.data]
        dataset = put(sqlite_store, tmp_path / "data", content, kind)
        spec = JobSpec.model_validate({**case.spec, "data": {**case.spec["data"], "dataset": dataset.id}})
        return spec, load(sqlite_store, dataset, spec)

    return of
