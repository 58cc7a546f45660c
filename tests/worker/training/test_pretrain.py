"""Restricted Boltzmann machines against their exact likelihood, and the stacks that they make."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from service.blocks.pretraining import Rbm
from service.errors import InvalidSpec
from service.failures import NonFiniteLoss
from service.network import Network, build_network, materialize
from service.network.beliefs import belief_stack
from service.settings import Settings
from service.spec import JobSpec
from service.store import events
from service.store.engine import Store
from service.store.tables import Dataset
from tests.worker.runs import attempt, changed, outcome, queue
from worker import draining
from worker.training import rbm
from worker.training.pretrain import pretrain
from worker.training.rbm import Machine

PATTERNS = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]).repeat(10, 1)


def nothing() -> None:
    pass


def log_likelihood(machine: Machine, data: torch.Tensor) -> float:
    """Return the mean log probability of rows, by the sum over all states."""

    def minus_free_energy(v: torch.Tensor) -> torch.Tensor:
        inputs = v @ machine.weight.T + machine.hidden_bias
        return v @ machine.visible_bias + torch.nn.functional.softplus(inputs).sum(1)

    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=data.shape[1])))
    return float((minus_free_energy(data) - minus_free_energy(states).logsumexp(0)).mean())


def start(hidden: int = 3, visible: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return 0.1 * torch.randn(hidden, visible, generator=torch.Generator().manual_seed(0)), torch.zeros(hidden)


@pytest.mark.parametrize("k", [1, 5])
def test_learns_the_patterns_that_it_sees(k: int) -> None:
    machine = Machine(Rbm(k=k, epochs=300, learning_rate=0.2, weight_decay=0.0), *start(), gaussian=False)
    before = log_likelihood(machine, PATTERNS)
    errors = machine.train(PATTERNS, 10, 1, 0, nothing)
    assert before == pytest.approx(-4 * np.log(2), abs=0.05)  # all 16 states are alike
    assert log_likelihood(machine, PATTERNS) > -1.2  # two patterns: at best -log 2
    assert errors[-1] < errors[0] / 4


def test_many_steps_of_sampling_give_the_gradient_of_the_likelihood() -> None:
    weight, bias = start(2, 3)
    data = torch.tensor([[1.0, 0, 1], [0, 1, 1]]).repeat(20_000, 1)
    rule = Rbm(k=30, learning_rate=1.0, momentum=0.0, weight_decay=0.0)
    machine = Machine(rule, weight, bias, gaussian=False)
    machine.visible_bias[:] = torch.tensor([0.3, -0.2, 0.1])
    parts = [machine.weight, machine.hidden_bias, machine.visible_bias]
    exact = []
    for part in parts:  # by differences of the exact likelihood
        slopes = torch.zeros_like(part)
        for place in range(part.numel()):
            old = float(part.view(-1)[place])
            values = []
            for shift in (0.01, -0.01):
                part.view(-1)[place] = old + shift
                values.append(log_likelihood(machine, data[:2]))
            part.view(-1)[place] = old
            slopes.view(-1)[place] = (values[0] - values[1]) / 0.02
        exact.append(slopes)
    before = [part.clone() for part in parts]
    machine.step(data, torch.Generator().manual_seed(2))
    for part, old, slope in zip(parts, before, exact, strict=True):
        torch.testing.assert_close(part - old, slope, atol=0.02, rtol=0)


def test_one_step_is_its_formula() -> None:
    weight, bias = start()
    rule = Rbm(learning_rate=0.5, momentum=0.5, weight_decay=0.01)
    machine = Machine(rule, weight, bias, gaussian=False)
    draws = torch.rand(20, 3, generator=torch.Generator().manual_seed(4)).numpy()
    machine.step(PATTERNS, torch.Generator().manual_seed(4))

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    w, v0 = weight.numpy(), PATTERNS.numpy()
    h0 = sigmoid(v0 @ w.T)
    v1 = sigmoid((draws < h0) @ w)
    h1 = sigmoid(v1 @ w.T)
    np.testing.assert_allclose(machine.weight, w + 0.5 * ((h0.T @ v0 - h1.T @ v1) / 20 - 0.01 * w), rtol=1e-4)
    np.testing.assert_allclose(machine.hidden_bias, 0.5 * (h0 - h1).mean(0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(machine.visible_bias, 0.5 * (v0 - v1).mean(0), rtol=1e-4, atol=1e-7)


def test_gaussian_units_reconstruct_standardized_numbers() -> None:
    source = torch.Generator().manual_seed(0)
    data = torch.randn(400, 1, generator=source) @ torch.tensor([[0.9, -0.9, 0.9, -0.9]])
    data += 0.3 * torch.randn(400, 4, generator=source)
    machine = Machine(Rbm(epochs=200, learning_rate=0.1), *start(8, 4), gaussian=True)
    errors = machine.train(data, 20, 0, 0, nothing)
    assert errors[-1] < 0.5 * float(data.square().mean())


LAYERS = [{"type": "dense", "units": 12}, {"type": "dropout", "rate": 0.2}, {"type": "dense", "units": 8}]


def job(**sections: Any) -> JobSpec:
    network = {"activation": "sigmoid", "layers": [*LAYERS, {"type": "dense", "units": "auto"}]}
    spec = changed(**{"network": network, "pretrain": {"type": "rbm", "epochs": 3}, **sections})
    spec["data"]["dataset"] = "ds_" + "0" * 26
    return JobSpec.model_validate(spec)


def built(spec: JobSpec, shape: tuple[int, ...] = (13,)) -> Network:
    return materialize(build_network(spec.network, spec.regularization, shape, 3), 0)


def test_each_layer_learns_what_the_one_before_gives_and_the_last_is_left_alone() -> None:
    spec, x = job(), torch.randn(60, 13, generator=torch.Generator().manual_seed(0))
    network = built(spec)
    first = {name: value.clone() for name, value in network.state_dict().items()}
    found = list(pretrain(spec, network, x, 16, 0, nothing))
    assert [item.layer for item in found] == ["dense_0", "dense_2"]
    assert all(len(item.errors) == 3 and item.errors[-1] < item.errors[0] for item in found)
    changed_ones = {name.split(".")[1] for name, value in network.state_dict().items() if not value.equal(first[name])}
    assert changed_ones == {"dense_0", "dense_2"}
    again = built(spec)
    assert [item.layer for item in itertools.islice(pretrain(spec, again, x, 16, 0, nothing), 1)] == ["dense_0"]
    list(pretrain(spec, again, x, 16, 1, nothing))
    assert all(value.equal(again.state_dict()[name]) for name, value in network.state_dict().items())


def test_divergence_is_said() -> None:
    spec = job(pretrain={"type": "rbm", "learning_rate": 1e6, "visible": "gaussian"})
    with pytest.raises(NonFiniteLoss, match=r"Pre-training of dense_0 diverged.*pretrain\.learning_rate"):
        list(pretrain(spec, built(spec), torch.randn(60, 13), 16, 0, nothing))


@pytest.mark.parametrize(
    ("network", "shape", "path", "message"),
    [
        ({"activation": "relu"}, (13,), "network.layers[0].activation", "whose units are sigmoid"),
        ({"layers": [{"type": "dense", "units": "auto"}]}, (13,), "pretrain", "needs a hidden dense layer"),
        ({}, (4, 5), "network.layers[0]", "put a flatten before it"),
        (
            {"layers": [LAYERS[0], {"type": "batch_norm"}, LAYERS[2], {"type": "dense", "units": "auto"}]},
            (13,),
            "network.layers[1]",
            "cannot stand between",
        ),
    ],
)
def test_other_stacks_are_refused(network: Any, shape: tuple[int, ...], path: str, message: str) -> None:
    layers = [*LAYERS, {"type": "flatten"}, {"type": "dense", "units": "auto"}]
    spec = job(network={"activation": "sigmoid", "layers": layers} | network)
    with pytest.raises(InvalidSpec) as caught:
        belief_stack(spec.network, built(spec, shape))
    assert caught.value.problems[0].path == path
    assert message in caught.value.problems[0].message


@pytest.mark.parametrize("step", [0, 15, 30])
def test_a_run_broken_off_while_it_pretrains_ends_with_the_same_bits(
    step: int, sqlite_store: Store, settings: Settings, wine: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = job().model_dump(mode="json")
    whole, broken = (queue(sqlite_store, wine, spec) for _ in range(2))
    attempt(sqlite_store, settings, whole)
    original, steps = Machine.step, itertools.count()

    def take(self: Machine, *arguments: Any) -> torch.Tensor:
        if next(steps) == step:
            draining.drain()
        return original(self, *arguments)

    monkeypatch.setattr(rbm.Machine, "step", take)
    assert attempt(sqlite_store, settings, broken).status == "queued"
    draining.resume()
    attempt(sqlite_store, settings, broken)
    assert outcome(sqlite_store, broken) == outcome(sqlite_store, whole)
    with sqlite_store.read() as session:
        told = [event.data["layer"] for event in events.since(session, broken) if event.type == "pretrained"]
    assert told == ["dense_0", "dense_2"]
