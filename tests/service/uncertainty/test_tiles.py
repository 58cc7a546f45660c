"""How the work of a request is cut up: what runs once, what runs in tiles, and how large those are."""

from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from service.blocks.layers import Activated
from service.uncertainty import monte_carlo
from service.uncertainty.monte_carlo import MonteCarlo
from tests.service.uncertainty.networks import DENSE, MIB, NETWORKS, OUT, TOLERANCE, build, drop, rows_of


@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_only_change_the_rounding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, shape = NETWORKS[name]
    network, x = build(layers, shape), rows_of(shape, 3)
    model = MonteCarlo(network)
    whole = model.samples(x, 21, 5, 64 * MIB)
    monkeypatch.setattr(monte_carlo, "FEWEST", 1)
    for tile in (1, 2, 5, 16):
        size = tile * model.row_bytes
        monkeypatch.setattr(monte_carlo, "CACHE_BYTES", size)
        assert model.tile(size) == tile
        torch.testing.assert_close(model.samples(x, 21, 5, size), whole, **TOLERANCE)


def modules(model: MonteCarlo) -> Iterator[tuple[str, nn.Module]]:
    """Yield a module of each layer that runs when the layer does, in the network and in its twin."""
    for network in (model.network, model._twin):
        for name, layer in network.layers.items():
            yield name, layer.kernel if isinstance(layer, Activated) else layer


def count_calls(model: MonteCarlo) -> Counter[str]:
    """Count how often each layer runs."""
    calls: Counter[str] = Counter()
    for name, module in modules(model):
        module.register_forward_hook(lambda module, inputs, output, name=name: calls.update([name]))
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
        for _, module in modules(model):
            module.register_forward_hook(self.look)

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


def test_the_scores_of_attention_set_the_tile_of_long_sequences() -> None:
    attention = {"type": "multi_head_attention", "heads": 4, "dropout": 0.1}
    model = MonteCarlo(build([attention, "flatten", OUT], (100, 4)))
    # Scores, weights, bits, mask and product: 5 x 4 heads x 100 x 100 values of four bytes a row.
    assert model.tile(10 * 5 * 4 * 100 * 100 * 4) == 10


def test_chunks_hold_every_row_once_and_are_of_one_size() -> None:
    layers, shape = NETWORKS["several"]
    model, x = MonteCarlo(build(layers, shape)), rows_of(shape, 103)
    for most in (None, 1, 10, 102, 103, 1000):
        chunks = list(model.chunks(x, MIB, most))
        assert [row for chunk in chunks for row in range(103)[chunk.rows]] == list(range(103))
        assert max(len(chunk.hidden) for chunk in chunks) <= (most or 103)
        assert len({len(chunk.hidden) for chunk in chunks[:-1]}) <= 1
