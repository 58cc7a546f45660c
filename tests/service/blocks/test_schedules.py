"""Schedules at the steps where their values are known."""

import math

import pytest

from service.blocks.schedules import ConstantSchedule, CosineSchedule, ExponentialSchedule, Horizon, StepSchedule

HORIZON = Horizon(steps_per_epoch=10, total_steps=100)


def test_constant() -> None:
    assert [ConstantSchedule().factor(step, HORIZON) for step in (0, 50, 99)] == [1, 1, 1]


def test_step_drops_at_whole_epochs() -> None:
    schedule = StepSchedule(every_epochs=3.0, gamma=0.5)
    assert [schedule.factor(step, HORIZON) for step in (0, 29, 30, 59, 60)] == [1, 1, 0.5, 0.5, 0.25]


def test_exponential_is_smooth() -> None:
    schedule = ExponentialSchedule(gamma=0.9)
    assert [schedule.factor(step, HORIZON) for step in (0, 5, 20)] == pytest.approx([1, 0.9**0.5, 0.81])


def test_cosine_goes_from_one_to_its_floor() -> None:
    schedule = CosineSchedule(min_factor=0.2)
    expected = [1, 0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi / 4)), 0.6, 0.2, 0.2]
    assert [schedule.factor(step, HORIZON) for step in (0, 25, 50, 100, 150)] == pytest.approx(expected)


def test_warmup_rises_linearly_and_then_the_curve_has_the_rest() -> None:
    schedule = CosineSchedule(warmup_epochs=2.0)
    assert [schedule.factor(step, HORIZON) for step in (0, 9, 19)] == pytest.approx([1 / 21, 10 / 21, 20 / 21])
    assert [schedule.factor(step, HORIZON) for step in (20, 60, 100)] == pytest.approx([1, 0.5, 0], abs=1e-12)


def test_warmup_longer_than_training_only_rises() -> None:
    curve = [ConstantSchedule(warmup_epochs=20.0).factor(step, HORIZON) for step in range(100)]
    assert curve == sorted(curve) and curve[-1] < 1
