"""Steps of several jobs together, against the same jobs alone: for every block and every way of training."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.support.every_block import Case, cases, specification
from tests.worker.packed.packs import alone, assert_alike, together
from tests.worker.training.test_traced import WAYS
from worker.packed.variants import replicas_of
from worker.training import recorded

JOBS = 2
CLOSE: dict[str, Any] = {"rtol": 2e-4, "atol": 2e-5}
"""Float32, over ten steps that each begin where the last one ended."""
ALIKE_BY_CHANCE = {"data", "preprocessing", "pretraining", "metric"}
"""Families that a step has nothing to do with."""
ELSEWHERE = {"optimizer-lbfgs", "layer-gru", "layer-lstm", "layer-simple_rnn"}
"""What takes turns: tests/worker/packed/test_choice.py."""


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
