"""Steps in half precision: replayed and gone on with to the bit, scaled, and as good as float32."""

from pathlib import Path
from typing import Any

import pytest
import torch

from service.blocks.schedules import Horizon
from service.failures import NonFiniteLoss
from service.memory import HALVES
from service.network import build_network, materialize
from service.settings import Settings
from service.spec import JobSpec, TrainingSpec
from service.store import models
from service.store.engine import Store
from service.store.tables import Dataset
from tests.support.every_block import Case, cases
from tests.worker.conftest import AtStep
from tests.worker.runs import attempt, changed, put, queue
from tests.worker.training.test_run import ends_with_the_same_bits
from tests.worker.training.test_traced import assert_same, loaded
from worker.rows import Batch
from worker.training.precision import LARGE_STEP, Precision
from worker.training.scaling import GROWTH_STEPS, LEAST, START, LossScale
from worker.training.step import Step

__all__ = ["loaded"]

CPU = torch.device("cpu")
KINDS = {
    "layer-dense", "layer-conv2d", "layer-batch_norm", "layer-layer_norm", "layer-lstm", "layer-gru", "layer-embedding",
    "layer-multi_head_attention", "layer-residual", "layer-maxout", "layer-gaussian_noise", "loss-gaussian_nll",
}  # fmt: skip
"""Blocks that torch computes in different ways under autocast."""


def with_precision(spec: JobSpec, **training: Any) -> JobSpec:
    return spec.model_copy(update={"training": spec.training.model_copy(update=training)})


@pytest.mark.parametrize("number", HALVES)
@pytest.mark.parametrize("case", [case for case in cases() if case.name in KINDS], ids=lambda case: case.name)
def test_steps_in_half_precision_are_replayed_to_the_bit(case: Case, number: str, loaded: Any) -> None:
    spec, data = loaded(case)
    assert_same(with_precision(spec, precision=number), data)


@pytest.mark.parametrize("number", HALVES)
def test_a_run_in_half_precision_goes_on_with_the_same_bits(
    number: str, sqlite_store: Store, settings: Settings, wine: Dataset, at_step: AtStep
) -> None:
    spec = changed(training={"precision": number, "batch_size": 8, "accumulate": 2})
    ends_with_the_same_bits(spec, [1, 20], sqlite_store, settings, wine, at_step)


def accuracy(store: Store, settings: Settings, data: Dataset, number: str) -> tuple[float, dict[str, Any]]:
    convolutions = [{"type": "conv2d", "filters": 8, "kernel_size": 3}, "batch_norm", "flatten"]
    spec = changed(
        network={"activation": "relu", "layers": [*convolutions, {"type": "dense", "units": "auto"}]},
        data={"target": "target", "preprocessing": [], "split": {"validation": 0.0, "test": 0.3}},
        training={"epochs": 3, "batch_size": 64, "precision": number},
        schedule="constant",
    )
    job = attempt(store, settings, queue(store, data, spec))
    assert job.status == "succeeded" and job.receipt, job.error_message
    with store.read() as session:
        return models.get(session, str(job.model)).metrics["test"]["accuracy"], job.receipt


def test_half_precision_learns_digits_as_well_as_float32(
    sqlite_store: Store, settings: Settings, digits_npz: bytes, tmp_path: Path
) -> None:
    digits = put(sqlite_store, tmp_path / "digits", digits_npz, "npz")
    whole, receipt = accuracy(sqlite_store, settings, digits, "auto")
    assert whole > 0.9 and receipt["precision"] == "float32" and receipt["deterministic"]
    for number in HALVES:
        half, receipt = accuracy(sqlite_store, settings, digits, number)
        assert half > whole - 0.02 and receipt["precision"] == number
        assert ("steps_skipped" in receipt) == (number == "float16")


def small_step(number: str) -> tuple[list[torch.Tensor], Step]:
    layers = [{"type": "dense", "units": 3, "activation": "tanh"}, {"type": "dense", "units": "auto"}]
    spec = changed(network={"layers": layers}, training={"precision": number}, optimizer="sgd", schedule="constant")
    spec["data"]["dataset"] = "ds_" + "0" * 26
    job = JobSpec.model_validate(spec)
    network = materialize(build_network(job.network, job.regularization, (4,), 3), 1)
    step = Step(network, job, CPU, Horizon(10, 100), 100)
    step.begin()
    return [parameter.detach() for parameter in network.parameters()], step


def rows(size: float = 1.0) -> Batch:
    source = torch.Generator().manual_seed(0)
    return Batch(size * torch.randn(12, 4, generator=source), torch.randint(3, (12,), generator=source))


@pytest.mark.parametrize(("number", "rounding"), [("bfloat16", 2**-7), ("float16", 2**-9)])
def test_weights_move_as_in_float32_up_to_rounding_and_stay_float32(number: str, rounding: float) -> None:
    (whole, exact), (half, rounded) = small_step("float32"), small_step(number)
    before = [weight.clone() for weight in half]
    loss, output = exact(rows(), 0)
    for found, wanted in zip(rounded(rows(), 0), (loss, output), strict=True):
        assert found.dtype == torch.float32 and not torch.equal(found, wanted)
        torch.testing.assert_close(found, wanted, atol=2 * rounding, rtol=2 * rounding)
    for a, b, old in zip(half, whole, before, strict=True):
        assert a.dtype == torch.float32 and not torch.equal(a, old)
        torch.testing.assert_close(a - old, b - old, atol=4 * rounding * float((b - old).abs().max()), rtol=0)


def test_gradients_too_small_for_float16_are_not_rounded_to_zero() -> None:
    """The rows are so small that without a factor the gradient of the first kernel would be zero in float16."""
    (weights, step), (whole, exact) = small_step("float16"), small_step("float32")
    assert step.scale is not None
    moves = []
    for own, take in ((weights, step), (whole, exact)):
        before = own[0].clone()
        take(rows(2.0**-14), 0)
        moves.append(own[0] - before)
    assert float(moves[1].abs().max()) / 0.01 < 2.0**-14
    torch.testing.assert_close(moves[0], moves[1], rtol=0.05, atol=0.05 * float(moves[1].abs().max()))
    unscaled, plain = small_step("float16")
    assert plain.scale is not None
    plain.scale.factor.fill_(2.0**-12)
    before = unscaled[0].clone()
    plain(rows(2.0**-14), 0)
    assert torch.equal(unscaled[0], before)


def test_a_step_whose_gradients_overflow_moves_nothing_and_halves_the_factor() -> None:
    weights, step = small_step("float16")
    assert step.scale is not None
    step.scale.factor.fill_(2.0**30)
    before = [weight.clone() for weight in weights]
    loss, _ = step(rows(), 0)
    assert torch.isfinite(loss)
    assert all(torch.equal(a, b) for a, b in zip(weights, before, strict=True))
    assert (step.scale.factor.item(), step.scale.skipped) == (2.0**29, 1)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_the_factor_grows_after_many_good_steps_and_ends_a_run_that_has_none(value: float) -> None:
    scale = LossScale(CPU)
    good, bad = [torch.ones(3), None], [torch.tensor([1.0, value]), torch.ones(2)]
    for _ in range(GROWTH_STEPS - 1):
        assert scale.accepts(good)
    state = scale.state()
    assert scale.accepts(good) and scale.factor.item() == 2 * START
    again = LossScale(CPU)
    again.restore(state)
    assert again.accepts(good) and again.state() == scale.state()
    assert not scale.accepts(bad) and scale.state() == {"factor": START, "good": 0, "skipped": 1}
    scale.factor.fill_(LEAST)
    with pytest.raises(NonFiniteLoss, match="bfloat16"):
        scale.accepts(bad)


def test_auto_is_float32_on_a_processor_and_tf32_is_nothing_there() -> None:
    training = TrainingSpec(tf32=True)
    for work in (0, LARGE_STEP):
        found = Precision.of(training, CPU, work)
        assert (found.number, found.tf32, found.half) == ("float32", False, None)
