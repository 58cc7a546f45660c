"""What a step sees of its rows, and runs on augmented and mixed rows that are interrupted within an epoch."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from service.randomness import generator
from service.settings import Settings
from service.spec import JobSpec
from service.store.engine import Store
from service.store.tables import Dataset
from tests.worker.runs import attempt, changed, outcome, put, queue
from worker import draining
from worker.rows import Batch
from worker.training.augment import Augment, losses_of_rows

AtStep = Callable[[int, Callable[[], None]], None]
CPU = torch.device("cpu")
STEPS: list[Any] = ["random_flip", {"type": "random_rotation", "degrees": 20}, {"type": "random_noise", "std": 0.1}]
IMAGES: dict[str, Any] = {
    "network": {"layers": [{"type": "conv2d", "filters": 4, "kernel_size": 3, "activation": "relu"}, "batch_norm",
                           "flatten", {"type": "dropout", "rate": 0.2}, {"type": "dense", "units": "auto"}]},
    "data": {"target": "y", "split": {"validation": 0.2}, "augmentation": STEPS},
    "training": {"epochs": 3},
}  # fmt: skip


def spec_of(seed: int = 3, mixing: Any = None, augmentation: Any = (), loss: Any = "cross_entropy") -> JobSpec:
    body = changed(
        data={"dataset": "ds_" + "0" * 26, "augmentation": list(augmentation)},
        training={"seed": seed},
        regularization={"mixing": mixing},
        loss=loss,
        metrics=[],
    )
    return JobSpec.model_validate(body)


def batch(weight: torch.Tensor | None = None) -> Batch:
    source = torch.Generator().manual_seed(0)
    return Batch(torch.randn(8, 1, 6, 6, generator=source), torch.randint(4, (8,), generator=source), weight)


def test_without_augmentation_the_rows_are_themselves() -> None:
    rows = batch()
    assert Augment(spec_of(), CPU)(rows, 0) is rows


def test_augmentations_come_one_behind_another_from_the_generator_of_the_step() -> None:
    spec, rows = spec_of(augmentation=STEPS), batch()
    source, x = generator(3, "augment", 5), rows.x
    for step in spec.data.augmentation:
        x = step.apply(x, source)
    seen = Augment(spec, CPU)(rows, 5)
    assert torch.equal(seen.x, x) and seen.y is rows.y and seen.y_other is None


def test_what_is_seen_depends_on_seed_and_step_only() -> None:
    def seen(seed: int, step: int) -> torch.Tensor:
        augment = Augment(spec_of(seed, "mixup", STEPS), CPU)
        augment(batch(), 17)
        return augment(batch(), step).x

    assert torch.equal(seen(1, 4), seen(1, 4))
    assert not torch.equal(seen(1, 4), seen(1, 5))
    assert not torch.equal(seen(1, 4), seen(2, 4))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_the_loss_of_a_mixed_row_is_that_of_both_in_their_shares(mixing: str, weighted: bool) -> None:
    spec, rows = spec_of(mixing=mixing), batch(torch.arange(8.0) if weighted else None)
    seen = Augment(spec, CPU)(rows, 0)
    assert spec.regularization.mixing is not None
    x, partner, share = spec.regularization.mixing.mix(rows.x, generator(3, "augment", 0))
    assert torch.equal(seen.x, x)
    output = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    cost = torch.stack([functional.cross_entropy(output, torch.full((8,), c), reduction="none") for c in range(4)], 1)
    weight = torch.ones(8) if rows.weight is None else rows.weight
    own = share * weight * cost.gather(1, rows.y[:, None])[:, 0]
    other = (1 - share) * weight[partner] * cost.gather(1, rows.y[partner][:, None])[:, 0]
    torch.testing.assert_close(losses_of_rows(spec.loss, output, seen), own + other)
    # A part of a batch has its own partners' targets, wherever those rows are.
    part = losses_of_rows(spec.loss, output[2:5], seen[2:5])
    torch.testing.assert_close(part, (own + other)[2:5])


def test_numbers_are_mixed_as_classes_are() -> None:
    source = torch.Generator().manual_seed(0)
    rows = Batch(torch.randn(8, 5, generator=source), torch.randn(8, 2, generator=source))
    seen = Augment(spec_of(mixing="mixup", loss="mse"), CPU)(rows, 0)
    output = torch.randn(8, 2, generator=source)
    assert seen.weight is not None and seen.y_other is not None and seen.weight_other is not None
    expected = seen.weight * (output - rows.y).square().mean(1) + seen.weight_other * (
        output - seen.y_other
    ).square().mean(1)
    torch.testing.assert_close(seen.weight + seen.weight_other, torch.ones(8))
    torch.testing.assert_close(losses_of_rows(spec_of(loss="mse").loss, output, seen), expected)


@pytest.fixture
def images(sqlite_store: Store, tmp_path: Path) -> Dataset:
    """Ninety images of two kinds, [1, 6, 6]: bright above, or bright below."""
    y = np.arange(90) % 2
    x = np.random.default_rng(0).normal(size=(90, 6, 6)).astype(np.float32)
    x[y == 0, :3] += 2
    x[y == 1, 3:] += 2
    file = io.BytesIO()
    np.savez(file, x=x, y=y)
    return put(sqlite_store, tmp_path / "images.npz", file.getvalue(), "npz")


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_a_run_on_augmented_and_mixed_images_that_is_given_back_ends_with_the_same_bits(
    mixing: str, sqlite_store: Store, settings: Settings, images: Dataset, at_step: AtStep
) -> None:
    spec = changed(**IMAGES, regularization={"mixing": mixing})
    del spec["data"]["preprocessing"]
    whole = queue(sqlite_store, images, spec)
    attempt(sqlite_store, settings, whole)
    plain = queue(sqlite_store, images, {**spec, "regularization": {}})
    attempt(sqlite_store, settings, plain)

    broken = queue(sqlite_store, images, spec)
    at_step(7, draining.drain)  # five steps an epoch
    assert attempt(sqlite_store, settings, broken).status == "queued"
    draining.resume()
    at_step(-1, draining.drain)
    attempt(sqlite_store, settings, broken)
    assert outcome(sqlite_store, broken) == outcome(sqlite_store, whole)
    assert outcome(sqlite_store, plain)[0] != outcome(sqlite_store, whole)[0]
    assert outcome(sqlite_store, whole)[2]["validation"]["accuracy"] > 0.8


def test_numbers_are_predicted_from_noisy_mixed_rows(
    sqlite_store: Store, settings: Settings, diabetes_csv: bytes, tmp_path: Path
) -> None:
    dataset = put(sqlite_store, tmp_path / "d.csv", diabetes_csv)
    noise = [{"type": "random_noise", "std": 0.05}]
    spec = changed(
        loss="mse",
        data={"target_preprocessing": "standardize", "augmentation": noise},
        regularization={"mixing": {"type": "mixup", "alpha": 0.4}},
        training={"epochs": 30},
    )
    job = queue(sqlite_store, dataset, spec)
    attempt(sqlite_store, settings, job)
    assert outcome(sqlite_store, job)[2]["test"]["r2"] > 0.2
