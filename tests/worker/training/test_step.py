"""One step: parts, weights, clipping, noise and searches, against the same worked out by hand."""

from typing import Any

import pytest
import torch
from torch import nn

from service.blocks.schedules import Horizon
from service.network import Network, build_network, materialize
from service.spec import JobSpec
from tests.worker.runs import changed
from worker.rows import Batch
from worker.training.step import Step

CPU = torch.device("cpu")
HORIZON = Horizon(steps_per_epoch=10, total_steps=100)
LAYERS = [{"type": "dense", "units": 5, "activation": "tanh"}, {"type": "dense", "units": "auto"}]


def made(rows_of_batch: int = 100, **sections: Any) -> tuple[Network, Step]:
    spec = changed(**{"network": {"layers": LAYERS}, "schedule": "constant", "optimizer": "sgd", **sections})
    spec["data"]["dataset"] = "ds_" + "0" * 26
    job = JobSpec.model_validate(spec)
    network = materialize(build_network(job.network, job.regularization, (4,), 3), 1)
    step = Step(network, job, CPU, HORIZON, rows_of_batch)
    step.begin()
    return network, step


def rows(count: int = 12, seed: int = 0) -> Batch:
    source = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(count, 4, generator=source), torch.randint(3, (count,), generator=source))


def weights(network: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def moved(network: Network, step: Step, batch: Batch, number: int = 0) -> list[torch.Tensor]:
    before = weights(network)
    step(batch, number)
    return [after - old for after, old in zip(weights(network), before, strict=True)]


@pytest.mark.parametrize("rows_of_batch", [1, 5, 6, 12])
def test_a_step_of_several_batches_is_that_of_one_large_batch(rows_of_batch: int) -> None:
    batch = rows()
    whole, parts = made(12), made(rows_of_batch)
    expected = whole[1](batch, 0)
    found = parts[1](batch, 0)
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])
    for a, b in zip(weights(parts[0]), weights(whole[0]), strict=True):
        torch.testing.assert_close(a, b)


def test_penalties_count_once_however_many_batches_there_are() -> None:
    l2 = {"regularization": {"l2": 0.5}}
    whole, parts = made(12, **l2), made(5, **l2)
    for _, step in (whole, parts):
        step(rows(), 0)
    for a, b in zip(weights(parts[0]), weights(whole[0]), strict=True):
        torch.testing.assert_close(a, b)


def test_every_batch_of_a_step_has_masks_of_its_own() -> None:
    layers = [{"type": "dropout", "rate": 0.5}, {"type": "dense", "units": "auto", "initializer": "ones"}]
    _, step = made(4, network={"layers": layers})
    outputs = step(Batch(torch.ones(8, 4), torch.zeros(8, dtype=torch.int64)), 0)[1]
    assert not torch.equal(outputs[:4], outputs[4:])


def test_a_row_of_weight_two_counts_like_two_rows() -> None:
    twice = rows(3)
    once = Batch(twice.x[[0, 1, 2, 2]], twice.y[[0, 1, 2, 2]])
    weighted = Batch(twice.x, twice.y, torch.tensor([0.75, 0.75, 1.5]))  # mean 1, the last twice the others
    for a, b in zip(moved(*made(), weighted), moved(*made(), once), strict=True):
        torch.testing.assert_close(a, b)


def test_clipping_cuts_numbers_first_and_then_the_norm() -> None:
    plain = moved(*made(optimizer={"type": "sgd", "learning_rate": 1.0}), rows())
    limit = max(float(p.abs().max()) for p in plain) / 2
    cut = moved(*made(optimizer={"type": "sgd", "learning_rate": 1.0}, regularization={"clip_value": limit}), rows())
    for a, b in zip(cut, plain, strict=True):
        torch.testing.assert_close(a, b.clamp(-limit, limit))
    both = {"clip_value": limit, "clip_norm": 0.01}
    small = moved(*made(optimizer={"type": "sgd", "learning_rate": 1.0}, regularization=both), rows())
    assert float(torch.cat([p.flatten() for p in small]).norm()) == pytest.approx(0.01, rel=1e-3)


def test_annealing_adds_noise_of_the_variance_that_it_says_and_cools() -> None:
    layers = [{"type": "dense", "units": 400, "activation": "tanh"}, {"type": "dense", "units": "auto"}]
    schedule = {"type": "simulated_annealing", "temperature": 0.5, "cooling": 0.25}
    changes: dict[int, float] = {}
    for number in (0, 10):
        plain = moved(*made(network={"layers": layers}), rows(), number)
        warm = moved(*made(network={"layers": layers}, schedule=schedule), rows(), number)
        noise = torch.cat([(a - b).flatten() for a, b in zip(warm, plain, strict=True)])
        changes[number] = float(noise.var())
        assert abs(float(noise.mean())) < 0.005
    assert changes[0] == pytest.approx(2 * 0.01 * 0.5, rel=0.08)
    assert changes[10] == pytest.approx(changes[0] / 4, rel=0.1)
    again = [moved(*made(schedule=schedule), rows(), 3) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*again, strict=True))


def test_lbfgs_finds_the_least_squares_that_algebra_finds() -> None:
    source = torch.Generator().manual_seed(3)
    x = torch.randn(50, 4, generator=source)
    y = x @ torch.randn(4, 3, generator=source) + 0.1 * torch.randn(50, 3, generator=source) + 2.0
    network, step = made(
        network={"layers": [{"type": "dense", "units": "auto"}]},
        loss="mse",
        optimizer={"type": "lbfgs", "iterations": 40},
        data={"target": ["a", "b", "c"]},
        training={"batch_size": "all"},
        metrics=["mse"],
    )
    for number in range(3):
        step(Batch(x, y), number)
    solution = torch.linalg.lstsq(torch.cat([x, torch.ones(50, 1)], dim=1), y).solution
    kernel, bias = weights(network)
    torch.testing.assert_close(kernel, solution[:4].T, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(bias, solution[4], atol=2e-3, rtol=2e-3)


def test_a_search_sees_the_same_masks_at_every_look() -> None:
    layers = [{"type": "dense", "units": 20}, {"type": "dropout", "rate": 0.5}, {"type": "dense", "units": "auto"}]
    runs = []
    for _ in range(2):
        network, step = made(network={"layers": layers}, optimizer="lbfgs", training={"batch_size": "all"})
        losses = [float(step(rows(), 7)[0]) for _ in range(3)]
        assert losses == sorted(losses, reverse=True)
        runs.append(weights(network))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
