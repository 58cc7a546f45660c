"""Monte-Carlo dropout against the loop that anybody would write."""

import threading

import pytest
import torch

from service.uncertainty.monte_carlo import MonteCarlo
from tests.service.uncertainty.networks import DENSE, MIB, NETWORKS, OUT, TOLERANCE, build, drop, naive, rows_of


@pytest.mark.parametrize("name", NETWORKS)
def test_samples_are_those_of_the_naive_loop(name: str) -> None:
    layers, shape = NETWORKS[name]
    network, x = build(layers, shape), rows_of(shape, 4)
    expected = naive(network, x, 70, seed=5)
    found = MonteCarlo(network).samples(x, 70, 5, MIB)
    assert found.shape == (70, 4, 3)
    torch.testing.assert_close(found, expected, **TOLERANCE)
    assert expected.std(0).min() > 1e-3, "every row's samples must differ, or this shows nothing"


@pytest.mark.parametrize("name", ["several", "images"])
@pytest.mark.parametrize("rows", [1, 150])
def test_many_rows_run_sample_by_sample_and_agree(name: str, rows: int) -> None:
    layers, shape = NETWORKS[name]
    network, x = build(layers, shape), rows_of(shape, rows)
    picked = [0, rows // 2, rows - 1]
    expected = naive(network, x[picked], 5, seed=5)
    torch.testing.assert_close(MonteCarlo(network).samples(x, 5, 5, 64 * MIB)[:, picked], expected, **TOLERANCE)


def test_a_row_has_the_samples_it_has_alone() -> None:
    layers, shape = NETWORKS["images"]
    model, x = MonteCarlo(build(layers, shape)), rows_of(shape, 6)
    together = model.samples(x, 10, 5, 64 * MIB)
    for row in range(len(x)):
        torch.testing.assert_close(model.samples(x[row : row + 1], 10, 5, MIB)[:, 0], together[:, row], **TOLERANCE)


def test_a_longer_run_begins_with_the_shorter() -> None:
    layers, shape = NETWORKS["several"]
    model, x = MonteCarlo(build(layers, shape)), rows_of(shape, 2)
    longer = model.samples(x, 300, 5, MIB)
    for samples in (1, 50, 64, 299):
        torch.testing.assert_close(model.samples(x, samples, 5, MIB), longer[:samples], **TOLERANCE)


def test_the_same_request_has_the_same_bits_and_another_seed_has_others() -> None:
    layers, shape = NETWORKS["images"]
    model, x = MonteCarlo(build(layers, shape)), rows_of(shape, 5)
    first = model.samples(x, 80, 5, MIB)
    assert torch.equal(first, model.samples(x, 80, 5, MIB))
    assert torch.equal(first, MonteCarlo(build(layers, shape)).samples(x, 80, 5, MIB))
    assert not torch.allclose(first, model.samples(x, 80, 6, MIB))


def test_the_mean_of_many_samples_of_a_linear_network_is_the_whole_network() -> None:
    network = build([{"type": "dense", "units": 30}, drop(0.3), OUT], (7,))
    x = rows_of((7,), 2)
    samples = MonteCarlo(network).samples(x, 20_000, 5, MIB)
    error = samples.std(0) / 20_000**0.5
    assert ((samples.mean(0) - network(x)).abs() < 5 * error).all()


def test_a_network_without_dropout_has_no_stochastic_layers() -> None:
    network = build([DENSE, drop(0.0), OUT], (7,))
    model, x = MonteCarlo(network), rows_of((7,), 3)
    assert model.stochastic_layers == []
    (chunk,) = model.chunks(x, MIB)
    with torch.inference_mode():
        assert torch.equal(model.outputs(chunk)[0], network(x))


def test_the_whole_network_stays_deterministic_beside_its_twin() -> None:
    layers, shape = NETWORKS["several"]
    network, x = build(layers, shape), rows_of(shape, 3)
    expected = network(x)
    model = MonteCarlo(network)
    model.samples(x, 10, 0, MIB)
    (chunk,) = model.chunks(x, MIB)
    torch.testing.assert_close(model.outputs(chunk)[0], expected, rtol=0, atol=0)
    assert model.stochastic_layers == ["dropout_1", "dropout_3"]


def test_the_twin_takes_no_memory_for_weights() -> None:
    layers, shape = NETWORKS["images"]
    model = MonteCarlo(build(layers, shape))
    own, twin = model.network.state_dict(), model._twin.state_dict()
    assert own.keys() == twin.keys() and all(own[name].data_ptr() == twin[name].data_ptr() for name in own)


def test_threads_with_different_seeds_do_not_disturb_each_other() -> None:
    layers, shape = NETWORKS["several"]
    model, x = MonteCarlo(build(layers, shape)), rows_of(shape, 2)
    expected = {seed: model.samples(x, 130, seed, MIB) for seed in range(8)}
    wrong: list[int] = []
    barrier = threading.Barrier(len(expected))

    def ask(seed: int) -> None:
        barrier.wait(10)
        for _ in range(40):
            if not torch.equal(model.samples(x, 130, seed, MIB), expected[seed]):
                wrong.append(seed)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_noise_is_taken_away_after_an_error() -> None:
    layers, shape = NETWORKS["several"]
    model = MonteCarlo(build(layers, shape))
    chunk = next(model.chunks(rows_of(shape, 2), MIB))
    broken = type(chunk)(chunk.rows, chunk.hidden[:, :3], chunk.tile)
    with pytest.raises(RuntimeError):
        list(model.draws(broken, 5, 0))
    with pytest.raises(RuntimeError, match="without noise"):
        model._twin.suffix(chunk.hidden)
