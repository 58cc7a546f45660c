"""Tiled Monte-Carlo dropout against the loop that anybody would write."""

import math
import threading
from collections import Counter
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from torch import Tensor, nn

from service.blocks.noise import set_noise
from service.network import Network, build_network, materialize
from service.predict import monte_carlo
from service.predict.monte_carlo import MonteCarlo
from service.randomness import derive, generator
from service.spec import NetworkSpec, RegularizationSpec

MIB = 1024 * 1024
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
DENSE = {"type": "dense", "units": 24, "activation": "relu"}
OUT = {"type": "dense", "units": "auto"}
CONV = {"type": "conv2d", "filters": 6, "kernel_size": 3, "activation": "relu", "padding": "same"}


def drop(rate: float) -> dict[str, Any]:
    return {"type": "dropout", "rate": rate}


NETWORKS: dict[str, tuple[list[Any], tuple[int, ...]]] = {
    "several": ([DENSE, drop(0.2), DENSE, drop(0.5), OUT], (7,)),
    "first": ([drop(0.3), DENSE, OUT], (7,)),
    "last": ([DENSE, OUT, drop(0.3)], (7,)),
    "behind norms": (
        [DENSE, "batch_norm", drop(0.2), DENSE, "layer_norm", drop(0.1), OUT],
        (7,),
    ),
    "images": (
        [CONV, "batch_norm", drop(0.25), CONV, "batch_norm", "max_pool2d",
         drop(0.25), "flatten", DENSE, drop(0.5), OUT],
        (1, 8, 8),
    ),
    "sequences": (
        [drop(0.1), {"type": "conv1d", "filters": 5, "kernel_size": 3}, drop(0.4),
         "flatten", OUT],
        (3, 12),
    ),
    "a rate of zero before": ([drop(0.0), DENSE, drop(0.4), OUT], (7,)),
}  # fmt: skip


def build(layers: list[Any], shape: tuple[int, ...], outputs: int = 3, seed: int = 1) -> Network:
    spec = NetworkSpec.model_validate({"layers": orjson.loads(orjson.dumps(layers))})
    network = materialize(build_network(spec, RegularizationSpec(), shape, outputs), seed).eval()
    source = generator(seed, "statistics")
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(generator=source)
            module.running_var.uniform_(0.5, 2.0, generator=source)
    return network


def rows_of(shape: tuple[int, ...], count: int, seed: int = 3) -> Tensor:
    return torch.randn(count, *shape, generator=generator(seed, "rows"))


class ExplicitNoise:
    """The mask of sample t as the module's docstring says it, for one row at a time."""

    def __init__(self, seed: int, sample: int) -> None:
        self.seed, self.sample = seed, sample

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        values = torch.Size(shape[1:]).numel()
        counts = math.ceil(values / 16)
        source = np.random.Philox(key=derive(self.seed, "predict", key))
        words = source.random_raw((self.sample + 1) * counts * 4)[-counts * 4 :]
        return torch.from_numpy(words.view(np.int16)[:values].reshape(shape[1:])).expand(shape)


def naive(network: Network, x: Tensor, samples: int, seed: int) -> Tensor:
    """T forward passes of every single row, each with explicitly set masks, [T, R, K]."""
    try:
        passes = []
        for sample in range(samples):
            set_noise(network, ExplicitNoise(seed, sample))
            passes.append(torch.cat([network(row.unsqueeze(0)) for row in x]))
        return torch.stack(passes).detach()
    finally:
        set_noise(network, None)


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


@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_only_change_the_rounding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, shape = NETWORKS[name]
    network, x = build(layers, shape), rows_of(shape, 3)
    model = MonteCarlo(network)
    whole = model.samples(x, 21, 5, 64 * MIB)
    monkeypatch.setattr(monte_carlo, "FEWEST", 1)
    for tile in (1, 2, 5, 16):
        size = tile * model._row_bytes
        monkeypatch.setattr(monte_carlo, "CACHE_BYTES", size)
        assert model.tile(size) == tile
        torch.testing.assert_close(model.samples(x, 21, 5, size), whole, **TOLERANCE)


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


def count_calls(model: MonteCarlo) -> Counter[str]:
    """Count how often each layer runs, in the network and in its twin."""
    calls: Counter[str] = Counter()
    for network in (model.network, model._twin):
        for name, layer in network.layers.items():
            layer.register_forward_hook(lambda module, inputs, output, name=name: calls.update([name]))
    return calls


def test_the_layers_before_the_first_stochastic_one_run_once() -> None:
    layers, shape = NETWORKS["behind norms"]
    model = MonteCarlo(build(layers, shape))
    calls = count_calls(model)
    model.samples(rows_of(shape, 3), 100, 5, 64 * MIB)
    tiles = -(-100 // (model.tile(64 * MIB) // 3))
    before = {"dense_0": 1, "batch_norm_1": 1}
    assert calls == before | dict.fromkeys([name for name in model.network.layers if name not in before], tiles)
    assert tiles < 5


class LargestBatch:
    """Watches the largest batch that any layer receives."""

    def __init__(self, model: MonteCarlo) -> None:
        self.rows = 0
        for network in (model.network, model._twin):
            for layer in network.layers.values():
                layer.register_forward_hook(self.look)

    def look(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.rows = max(self.rows, len(inputs[0]))


@pytest.mark.parametrize(("rows", "samples"), [(1, 105), (24, 15), (205, 2)])
def test_a_tile_bounds_what_runs_at_once(rows: int, samples: int) -> None:
    layers, shape = NETWORKS["images"]
    model = MonteCarlo(build(layers, shape))
    # The widest layer: 6 x 8 x 8 values in; out, bits and mask of the same size.
    tile_bytes = 10 * 4 * (6 * 8 * 8) * 4
    assert model.tile(tile_bytes) == 10
    largest = LargestBatch(model)
    for chunk in model.chunks(rows_of(shape, rows), tile_bytes):
        for outputs in model.draws(chunk, samples, 5):
            assert outputs.shape[0] * outputs.shape[1] <= 10
    assert 5 < largest.rows <= 10


def test_the_widest_layer_sets_the_tile() -> None:
    narrow = MonteCarlo(build([DENSE, drop(0.2), OUT], (7,)))
    wide = MonteCarlo(build([{**DENSE, "units": 2400}, drop(0.2), OUT], (7,)))
    assert narrow.tile(MIB) == 100 * wide.tile(MIB) + narrow.tile(MIB) % 100
    assert wide.tile(1) == 1


def test_chunks_hold_every_row_once_and_are_of_one_size() -> None:
    layers, shape = NETWORKS["several"]
    model, x = MonteCarlo(build(layers, shape)), rows_of(shape, 103)
    for most in (None, 1, 10, 102, 103, 1000):
        chunks = list(model.chunks(x, MIB, most))
        assert [row for chunk in chunks for row in range(103)[chunk.rows]] == list(range(103))
        assert max(len(chunk.hidden) for chunk in chunks) <= (most or 103)
        assert len({len(chunk.hidden) for chunk in chunks[:-1]}) <= 1


def test_a_network_without_dropout_has_no_stochastic_layers() -> None:
    network = build([DENSE, drop(0.0), OUT], (7,))
    model, x = MonteCarlo(network), rows_of((7,), 3)
    assert model.stochastic_layers == []
    (chunk,) = model.chunks(x, MIB)
    with torch.inference_mode():
        assert torch.equal(model.outputs(chunk), network(x))


def test_the_whole_network_stays_deterministic_beside_its_twin() -> None:
    layers, shape = NETWORKS["several"]
    network, x = build(layers, shape), rows_of(shape, 3)
    expected = network(x)
    model = MonteCarlo(network)
    model.samples(x, 10, 0, MIB)
    (chunk,) = model.chunks(x, MIB)
    torch.testing.assert_close(model.outputs(chunk), expected, rtol=0, atol=0)
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
