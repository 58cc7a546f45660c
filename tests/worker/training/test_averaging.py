"""Averages of weights against torch's own, and against sums written out."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from service.blocks.averaging import Ema, Swa
from service.blocks.schedules import Horizon
from worker.training.averaging import WeightAverage

HORIZON = Horizon(steps_per_epoch=5, total_steps=20)


def walk(network: nn.Module, average: WeightAverage, steps: int = 20) -> list[torch.Tensor]:
    """Change the weights at every step; return them as they were."""
    source = torch.Generator().manual_seed(0)
    seen = []
    for step in range(1, steps + 1):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=source))
        seen.append(next(network.parameters()).detach().clone())
        average.after_step(step)
    return seen


def test_ema_is_the_sum_of_decaying_shares_without_the_bias_of_the_start() -> None:
    network = nn.Linear(3, 2)
    average = WeightAverage(Ema(decay=0.9), network, HORIZON)
    seen = walk(network, average)
    shares = torch.tensor([0.9 ** (20 - t) for t in range(1, 21)])
    expected = (torch.stack(seen) * (shares / shares.sum()).view(-1, 1, 1)).sum(0)
    torch.testing.assert_close(average.tensors()["weight"], expected)


def test_swa_is_the_mean_of_the_last_epochs_as_torch_has_it() -> None:
    network = nn.Linear(3, 2)
    average, reference = WeightAverage(Swa(start=0.5), network, HORIZON), AveragedModel(network)
    source = torch.Generator().manual_seed(1)
    for step in range(1, 21):
        with torch.no_grad():
            network.weight.add_(torch.randn(2, 3, generator=source))
        average.after_step(step)
        if step in (15, 20):
            reference.update_parameters(network)
    assert average.count == 2
    torch.testing.assert_close(average.tensors()["weight"], reference.module.weight.detach())


def test_averages_are_in_place_only_where_asked_and_come_with_statistics() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = WeightAverage(Ema(decay=0.5), network, HORIZON)
    for step in (1, 2):
        network.train()(torch.randn(8, 3, generator=torch.Generator().manual_seed(step)))
        average.after_step(step)
    own = {name: value.clone() for name, value in network.state_dict().items()}
    with average.in_place():
        inside = network.state_dict()
        assert all(torch.equal(inside[name], value) for name, value in average.tensors().items())
        assert not torch.equal(inside["1.running_mean"], own["1.running_mean"])
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())
    average.settle()
    assert torch.equal(network.state_dict()["1.running_mean"], average.tensors()["1.running_mean"])


def test_before_anything_is_taken_in_the_network_stays_as_it_is() -> None:
    network = nn.Linear(3, 2)
    average = WeightAverage(Swa(start=0.5), network, HORIZON)
    own = network.weight.detach().clone()
    with average.in_place():
        assert torch.equal(network.weight, own)
    average.settle()
    assert torch.equal(network.weight, own)
