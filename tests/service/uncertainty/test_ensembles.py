"""Ensembles, against their members run one by one."""

import threading

import pytest
import torch
from torch import Tensor

from service.network import Network
from service.randomness import derive
from service.uncertainty.ensembles import Ensemble
from service.uncertainty.monte_carlo import MonteCarlo
from tests.service.uncertainty.networks import DENSE, MIB, NETWORKS, OUT, TOLERANCE, build, drop, rows_of

MEMBERS, DRAWS, SEED = 3, 7, 5


def members_of(name: str) -> list[Network]:
    """Return networks of one shape with different weights."""
    layers, shape = NETWORKS[name]
    found = []
    for seed in range(MEMBERS):
        network = build(layers, shape)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for parameter in network.parameters():
                parameter.data += 0.1 * torch.randn_like(parameter)
        found.append(network)
    return found


def ensemble_of(networks: list[Network], name: str) -> Ensemble:
    states = [network.state_dict() for network in networks]
    return Ensemble(build(*NETWORKS[name]), {n: torch.stack([s[n] for s in states]) for n in states[0]})


def one_by_one(networks: list[Network], x: Tensor) -> Tensor:
    """Return sample t * K + k from member k alone: its draw t, with masks of its own."""
    seeds = [derive(SEED, "member", place) for place in range(MEMBERS)]
    alone = [MonteCarlo(network).samples(x, DRAWS, seed, MIB) for network, seed in zip(networks, seeds, strict=True)]
    return torch.stack([alone[number % MEMBERS][number // MEMBERS] for number in range(MEMBERS * DRAWS)])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("tile", [MIB, 3000])
def test_samples_are_those_of_the_members_one_by_one(name: str, tile: int) -> None:
    networks, x = members_of(name), rows_of(NETWORKS[name][1], 4)
    found = ensemble_of(networks, name).samples(x, DRAWS, SEED, tile)
    assert found.shape == (MEMBERS * DRAWS, 4, 3)
    torch.testing.assert_close(found, one_by_one(networks, x), **TOLERANCE)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_noise_every_member_is_a_sample(name: str) -> None:
    networks, x = members_of(name), rows_of(NETWORKS[name][1], 5)
    ensemble = ensemble_of(networks, name)
    with torch.inference_mode():
        expected = torch.stack([network(x) for network in networks])
        (chunk,) = ensemble.chunks(x, 64 * MIB)
        torch.testing.assert_close(ensemble.outputs(chunk), expected, **TOLERANCE)
        torch.testing.assert_close(ensemble.members_on(x, True), expected, **TOLERANCE)
        own = torch.stack([x, x.flip(0), x])
        found = ensemble.members_on(own, False)
    torch.testing.assert_close(found[1], expected[1].flip(0), **TOLERANCE)
    assert ensemble.members == MEMBERS and ensemble.stochastic_layers == networks[0].stochastic_layers


def test_longer_draws_begin_with_the_shorter_and_may_go_on() -> None:
    ensemble, x = ensemble_of(members_of("several"), "several"), rows_of((7,), 2)
    whole = ensemble.samples(x, 20, SEED, MIB)
    with torch.inference_mode():
        (chunk,) = ensemble.chunks(x, MIB)
        first, rest = (torch.cat(list(ensemble.draws(chunk, *span))) for span in ((8, SEED), (20, SEED, 8)))
    torch.testing.assert_close(torch.cat([first, rest]), whole, **TOLERANCE)


def test_threads_share_an_ensemble_without_disturbing_each_other() -> None:
    ensemble, x = ensemble_of(members_of("images"), "images"), rows_of((1, 8, 8), 3)
    expected = [ensemble.samples(x, 6, seed, MIB) for seed in range(4)]
    found: dict[int, Tensor] = {}

    def run(seed: int) -> None:
        for _ in range(3):
            found[seed] = ensemble.samples(x, 6, seed, MIB)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[seed], expected[seed]) for seed in range(4))


def test_a_member_that_is_no_number_leaves_the_others_as_they_are() -> None:
    layers = [DENSE, "batch_norm", drop(0.2), OUT]
    states = [build(layers, (7,)).state_dict() for _ in range(MEMBERS)]
    stacked = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    x, sound = rows_of((7,), 3), Ensemble(build(layers, (7,)), {n: t.clone() for n, t in stacked.items()})
    for tensor in stacked.values():
        if tensor.is_floating_point():
            tensor[1].fill_(torch.nan)
    found = Ensemble(build(layers, (7,)), stacked).samples(x, 4, SEED, MIB).view(4, MEMBERS, 3, -1)
    expected = sound.samples(x, 4, SEED, MIB).view(4, MEMBERS, 3, -1)
    assert torch.equal(found[:, [0, 2]], expected[:, [0, 2]]) and bool(found[:, 1].isnan().all())
