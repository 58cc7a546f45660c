"""The whole curve of every schedule against its formula, and against torch's schedulers where torch has one."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as peers

from service.blocks.schedules import Horizon, Schedule
from tests.service.blocks.test_every_block import smallest

EPOCH, TOTAL = 8, 120
Formula = Callable[[int, int], float]
"""The factor at a step, from how many steps there are after the warm-up; the first is 0."""


def half_cosine(share: float, start: float = 1.0, end: float = 0.0) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2


def restarts(first: float, stretch: float, floor: float) -> Formula:
    """Return the formula of eq. 5 of SGDR, which goes through the cycles one by one."""

    def factor(step: int, total: int) -> float:
        begun, length = 0.0, first * EPOCH
        while step >= begun + length - 1e-9:
            begun, length = begun + length, length * stretch
        return half_cosine((step - begun) / length, 1.0, floor)

    return factor


def one_cycle(rise: float, start: float, floor: float) -> Formula:
    def factor(step: int, total: int) -> float:
        if step < rise * total:
            return half_cosine(step / (rise * total), start, 1.0)
        return half_cosine((step - rise * total) / ((1 - rise) * total), 1.0, floor)

    return factor


def always_one(step: int, total: int) -> float:
    return 1.0


FORMULAS: list[tuple[str, dict[str, Any], Formula]] = [
    ("constant", {}, always_one),
    ("step", {}, lambda s, n: 0.1 ** (s // (10 * EPOCH))),
    ("step", {"every_epochs": 2.0, "gamma": 0.5}, lambda s, n: 0.5 ** (s // (2 * EPOCH))),
    ("step", {"every_epochs": 0.25, "gamma": 0.9}, lambda s, n: 0.9 ** (s // 2)),
    ("multi_step", {"at_epochs": [3.0, 5.5, 12.0]}, lambda s, n: 0.1 ** ((s >= 24) + (s >= 44) + (s >= 96))),
    ("multi_step", {"at_epochs": [12.0, 3.0], "gamma": 0.5}, lambda s, n: 0.5 ** ((s >= 24) + (s >= 96))),
    ("exponential", {}, lambda s, n: math.exp(math.log(0.95) * s / EPOCH)),
    ("exponential", {"gamma": 0.5}, lambda s, n: 2.0 ** (-s / EPOCH)),
    ("cosine", {}, lambda s, n: half_cosine(s / n)),
    ("cosine", {"min_factor": 0.1}, lambda s, n: half_cosine(s / n, 1.0, 0.1)),
    ("inverse_time", {}, lambda s, n: 1 / (1 + 0.1 * s / EPOCH)),
    ("inverse_time", {"decay": 3.0}, lambda s, n: 1 / (1 + 3 * s / EPOCH)),
    ("polynomial", {}, lambda s, n: max(0.0, 1 - s / n)),
    ("polynomial", {"power": 2.5, "min_factor": 0.2}, lambda s, n: 0.2 + 0.8 * max(0.0, 1 - s / n) ** 2.5),
    ("cosine_restarts", {}, restarts(10, 2, 0)),
    ("cosine_restarts", {"first_epochs": 2.0, "stretch": 1.0, "min_factor": 0.1}, restarts(2, 1, 0.1)),
    ("cosine_restarts", {"first_epochs": 1.0, "stretch": 3.0}, restarts(1, 3, 0)),
    ("cosine_restarts", {"first_epochs": 0.5, "stretch": 1.25}, restarts(0.5, 1.25, 0)),
    ("one_cycle", {}, one_cycle(0.3, 0.04, 4e-6)),
    ("one_cycle", {"rise": 0.5, "start_factor": 0.1, "min_factor": 0.01}, one_cycle(0.5, 0.1, 0.01)),
    # Their rate stays: one is told what to do by what is measured, the other shakes the weights.
    ("reduce_on_plateau", {}, always_one),
    ("simulated_annealing", {}, always_one),
]
ONE_CYCLE = {"rise": 0.3, "start_factor": 0.1, "min_factor": 0.01}
TORCH: list[tuple[str, dict[str, Any], Callable[[torch.optim.Optimizer], peers.LRScheduler]]] = [
    ("constant", {}, lambda o: peers.ConstantLR(o, factor=1.0)),
    ("step", {"every_epochs": 2.0, "gamma": 0.5}, lambda o: peers.StepLR(o, 2 * EPOCH, gamma=0.5)),
    ("multi_step", {"at_epochs": [3.0, 5.5, 12.0]}, lambda o: peers.MultiStepLR(o, [24, 44, 96])),
    ("exponential", {"gamma": 0.8}, lambda o: peers.ExponentialLR(o, 0.8 ** (1 / EPOCH))),
    ("cosine", {"min_factor": 0.1}, lambda o: peers.CosineAnnealingLR(o, TOTAL, eta_min=0.1)),
    (
        "cosine_restarts",
        {"first_epochs": 2.0, "stretch": 2.0, "min_factor": 0.1},
        lambda o: peers.CosineAnnealingWarmRestarts(o, 2 * EPOCH, 2, eta_min=0.1),
    ),
    ("polynomial", {"power": 2.0}, lambda o: peers.PolynomialLR(o, TOTAL, power=2.0)),
    (
        # torch is at the top one step before `pct_start * total_steps` and at the bottom one before `total_steps`.
        "one_cycle",
        ONE_CYCLE,
        lambda o: peers.OneCycleLR(
            o, 1.0, TOTAL + 1, pct_start=(0.3 * TOTAL + 1) / (TOTAL + 1), div_factor=10.0, final_div_factor=10.0
        ),
    ),
]


def ours(name: str, fields: dict[str, Any], total: int = TOTAL) -> list[float]:
    block = Schedule.members()[name]
    schedule = block.model_validate({**smallest(block), **fields})
    return [schedule.factor(step, Horizon(EPOCH, total)) for step in range(total + 20)]


@pytest.mark.parametrize("name", Schedule.members())
def test_has_a_formula_here(name: str) -> None:
    assert name in {name for name, *_ in FORMULAS}, f"nothing here says what {name} is: add its formula to FORMULAS"


@pytest.mark.parametrize("warmup", [0.0, 2.5], ids=["", "warm-up"])
@pytest.mark.parametrize(("name", "fields", "formula"), FORMULAS, ids=[f"{n}{f or ''}" for n, f, _ in FORMULAS])
def test_is_its_formula(name: str, fields: dict[str, Any], formula: Formula, warmup: float) -> None:
    rising = int(warmup * EPOCH)
    expected = [(step + 1) / (rising + 1) for step in range(rising)]
    expected += [formula(step, TOTAL - rising) for step in range(TOTAL + 20 - rising)]
    assert ours(name, {**fields, "warmup_epochs": warmup}) == pytest.approx(expected, abs=1e-9)


def steps(scheduler: Callable[[torch.optim.Optimizer], peers.LRScheduler]) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    followed, rates = scheduler(optimizer), []
    for _ in range(TOTAL + 1):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if len(rates) <= TOTAL:
            followed.step()
    return rates


@pytest.mark.parametrize(("name", "fields", "scheduler"), TORCH, ids=[name for name, *_ in TORCH])
def test_is_torchs(
    name: str, fields: dict[str, Any], scheduler: Callable[[torch.optim.Optimizer], peers.LRScheduler]
) -> None:
    assert ours(name, fields)[: TOTAL + 1] == pytest.approx(steps(scheduler), abs=1e-9)


def test_warming_up_is_torchs_linear_schedule_before_another() -> None:
    def scheduler(optimizer: torch.optim.Optimizer) -> peers.LRScheduler:
        rise = peers.LinearLR(optimizer, start_factor=1 / 17, total_iters=16)
        fall = peers.CosineAnnealingLR(optimizer, TOTAL - 16)
        return peers.SequentialLR(optimizer, [rise, fall], milestones=[16])

    assert ours("cosine", {"warmup_epochs": 2.0})[: TOTAL + 1] == pytest.approx(steps(scheduler), abs=1e-9)


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("name", Schedule.members())
def test_the_shortest_training_has_a_rate(name: str, total: int) -> None:
    for warmup in (0.0, 5.0):
        assert all(0 <= factor <= 1 for factor in ours(name, {"warmup_epochs": warmup}, total))
        assert ours(name, {"warmup_epochs": warmup}, total)[0] > 0


def test_restarts_stay_on_their_cycle_however_many_there_are() -> None:
    block = Schedule.members()["cosine_restarts"]
    for stretch in (1.0, 1.001, 1.5, 2.0, 3.0, 10.0):
        schedule = block.model_validate({"first_epochs": 3.0, "stretch": stretch})
        begun, length = 0.0, 3.0 * EPOCH
        for _ in range(30):
            if begun + length > 1e7:
                break
            at, before = math.ceil(begun - 1e-9), math.ceil(begun + length - 1e-9) - 1
            share = (at - begun) / length, (before - begun) / length
            found = schedule.factor(at, Horizon(EPOCH, 10)), schedule.factor(before, Horizon(EPOCH, 10))
            assert found == pytest.approx((half_cosine(share[0]), half_cosine(share[1])), abs=1e-6)
            begun, length = begun + length, length * stretch


def test_annealing_shakes_less_and_less() -> None:
    schedule = Schedule.members()["simulated_annealing"].model_validate({"temperature": 0.5, "cooling": 0.25})
    noise = [schedule.noise(step, Horizon(EPOCH, TOTAL), 0.1) for step in (0, EPOCH, 3 * EPOCH)]
    assert noise == pytest.approx([math.sqrt(2 * 0.1 * 0.5 * 0.25**epoch) for epoch in (0, 1, 3)])
    others = [block for name, block in Schedule.members().items() if name != "simulated_annealing"]
    assert all(b.model_validate(smallest(b)).noise(3, Horizon(EPOCH, TOTAL), 0.1) == 0 for b in others)
