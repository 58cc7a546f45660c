"""Steps of several jobs together, against the same jobs alone: for every block and every way of training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from service.settings import Settings
from service.spec import JobSpec
from service.store.engine import Store
from tests.support.every_block import DATA, Case, cases, specification
from tests.worker.packed.packs import alone, assert_alike, together
from tests.worker.runs import put
from tests.worker.training.test_traced import WAYS
from worker.data import TrainingData, load
from worker.packed.variants import replicas_of
from worker.training import recorded

JOBS = 2
CLOSE: dict[str, Any] = {"rtol": 2e-4, "atol": 2e-5}
"""Float32, over ten steps that each begin where the last one ended."""
ALIKE_BY_CHANCE = {"data", "preprocessing", "pretraining", "metric"}
"""Families that a step has nothing to do with."""
ELSEWHERE = {"optimizer-lbfgs"}
"""What does not train together."""


@pytest.fixture
def loaded(sqlite_store: Store, settings: Settings, tmp_path: Path) -> Any:
    def of(case: Case) -> tuple[JobSpec, TrainingData]:
        kind, content = DATA[case.data]
        dataset = put(sqlite_store, tmp_path / "data", content, kind)
        spec = JobSpec.model_validate({**case.spec, "data": {**case.spec["data"], "dataset": dataset.id}})
        return spec, load(sqlite_store, dataset, spec)

    return of


def chosen() -> list[Case]:
    found = [c for c in cases() if c.name.split("-")[0] not in ALIKE_BY_CHANCE and c.name not in ELSEWHERE]
    # The gradient of a key's bias is 0 but for rounding, which Adam makes as large as any other.
    plain = {"optimizer": {"type": "sgd"}}
    found = [replace(c, spec={**c.spec, **plain}) if "attention" in c.name else c for c in found]
    ways = [way for way in WAYS if "lbfgs" not in str(way)]
    return found + [Case(str(way), "table", specification("table", **way)) for way in ways]


@pytest.mark.parametrize("case", chosen(), ids=lambda case: case.name)
def test_every_job_gives_together_what_it_gives_alone(case: Case, loaded: Any) -> None:
    spec, data = loaded(case)
    variants = replicas_of(spec, data, JOBS)
    each = [alone(variant.spec, data) for variant in variants]
    assert not torch.equal(each[0][1], each[1][1])
    written, _ = together(variants, records=False)
    assert_alike(written, each, **CLOSE)
    recorded.forget()
    replayed, pack = together(variants)
    assert pack.replays
    assert torch.equal(replayed[1], written[1])
    assert all(torch.equal(replayed[0][name], value) for name, value in written[0].items())
