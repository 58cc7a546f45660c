"""Embeddings, places and attention, against torch and the formulas of the paper; and a transformer in JSON."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from service.blocks.layers import Layer
from service.blocks.noise import StepNoise, set_noise
from service.errors import InvalidSpec
from service.network import build_network, materialize
from service.network.tokens import foreign_token
from service.spec import NetworkSpec, RegularizationSpec
from tests.support.networks import alone, build

SOURCE = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=SOURCE)


def test_an_embedding_looks_up_the_rows_of_its_table() -> None:
    layer = alone((5,), {"type": "embedding", "input_dim": 10, "output_dim": 4})
    ids = torch.tensor([[0, 3, 9, 3, 1]])
    torch.testing.assert_close(layer(ids.float())[0], layer.table[ids[0]])
    assert layer.table.shape == (10, 4)
    table = layer.table.detach()
    assert float(table.abs().max()) <= 0.05 and float(table.std()) == pytest.approx(0.05 / 3**0.5, rel=0.2)


def test_rules_of_kernels_leave_tables_alone() -> None:
    body = {"type": "embedding", "input_dim": 10, "output_dim": 4}
    network = build((5,), body, regularizer={"l2": 1.0}, initializer="ones", constraint={"max_norm": 0.1})
    assert float(network.layers["embedding_0"].table.detach().abs().max()) <= 0.05
    assert all("embedding" not in name for name in network.kernels)
    own = build((5,), {**body, "regularizer": {"l2": 1.0}, "initializer": "ones", "constraint": {"max_norm": 1.0}})
    assert own.penalty().item() == 40.0  # type: ignore[union-attr]
    own.constrain_()
    torch.testing.assert_close(own.layers["embedding_0"].table, torch.full((10, 4), 0.5))


def with_vocabulary(size: int | None, *layers: Any) -> Any:
    spec = NetworkSpec.model_validate({"layers": [*layers, "flatten", {"type": "dense", "units": "auto"}]})
    return build_network(spec, RegularizationSpec(), (5,), 2, vocabulary=size)


def test_the_data_say_how_many_tokens_there_are() -> None:
    auto = {"type": "embedding", "output_dim": 4}
    assert with_vocabulary(12, auto).layers["embedding_0"].table.shape == (12, 4)
    with pytest.raises(InvalidSpec, match="the data do not say how many tokens"):
        with_vocabulary(None, auto)


def test_an_embedding_stands_where_ids_arrive() -> None:
    auto = {"type": "embedding", "output_dim": 4}
    with pytest.raises(InvalidSpec, match="the first place in the network") as caught:
        with_vocabulary(12, {"type": "dense", "units": 5}, auto)
    assert caught.value.problems[0].path == "network.layers[1]"
    branches = {"type": "parallel", "branches": [auto, {**auto, "output_dim": 4, "name": "other"}]}
    with_vocabulary(12, branches)


@pytest.mark.parametrize("value", [-1.0, 10.0, 2.5])
def test_what_is_no_id_is_found_before_it_is_looked_up(value: float) -> None:
    network = build((3,), {"type": "embedding", "input_dim": 10, "output_dim": 4})
    x = torch.tensor([[0.0, 9, 3], [1, value, 2]])
    assert foreign_token(network, x) == (1, value, 10)
    assert foreign_token(network, x[:1]) is None
    assert foreign_token(build((3,)), x) is None


def test_waves_are_those_of_the_paper() -> None:
    layer = alone((6, 5), {"type": "positional_embedding", "kind": "sinusoidal"})
    expected = np.zeros((6, 5))
    for place in range(6):
        for i in range(5):
            angle = place / 10_000 ** (2 * (i // 2) / 5)
            expected[place, i] = np.sin(angle) if i % 2 == 0 else np.cos(angle)
    np.testing.assert_allclose(layer(torch.zeros(1, 6, 5))[0], expected, atol=1e-6)
    assert not list(layer.parameters()) and not list(layer.buffers())


def test_waves_have_no_weights_to_rule() -> None:
    with pytest.raises(ValidationError, match="waves have no weights"):
        Layer.members()["positional_embedding"].model_validate({"kind": "sinusoidal", "initializer": "zeros"})


def test_learned_places_are_added() -> None:
    layer = alone((6, 5), "positional_embedding")
    x = drawn(2, 6, 5)
    torch.testing.assert_close(layer(x), x + layer.table)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_torchs(causal: bool) -> None:
    layer = alone((7, 8), {"type": "multi_head_attention", "heads": 2, "causal": causal, "bias_initializer": "normal"})
    peer = nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat([part.weight for part in (layer.query, layer.key, layer.value)]))
        peer.in_proj_bias.copy_(torch.cat([part.bias for part in (layer.query, layer.key, layer.value)]))
        peer.out_proj.load_state_dict(layer.output.state_dict())
    x = drawn(3, 7, 8)
    mask = torch.ones(7, 7, dtype=torch.bool).triu(1) if causal else None
    torch.testing.assert_close(layer(x), peer(x, x, x, attn_mask=mask, need_weights=False)[0])


def test_a_causal_place_does_not_see_what_comes() -> None:
    layer = alone((7, 8), {"type": "multi_head_attention", "heads": 2, "causal": True})
    x = drawn(1, 7, 8)
    changed = x.clone()
    changed[:, 4:] += 1
    torch.testing.assert_close(layer(x)[:, :4], layer(changed)[:, :4])
    assert not torch.allclose(layer(x)[:, 4:], layer(changed)[:, 4:])


def test_dropout_of_attention_keeps_the_mean() -> None:
    network = build((4, 6), {"type": "multi_head_attention", "heads": 2, "dropout": 0.3})
    layer, x = network.layers["multi_head_attention_0"], drawn(1, 4, 6)
    plain = layer(x)
    set_noise(network, StepNoise(0, 0, torch.device("cpu")))
    dropped = layer(x.expand(20_000, 4, 6))
    assert not torch.allclose(dropped[0], dropped[1])
    torch.testing.assert_close(dropped.mean(0), plain[0], atol=0.02, rtol=0)
    assert network.stochastic_layers == ["multi_head_attention_0"]


def test_heads_must_divide_the_features_unless_they_have_a_size() -> None:
    with pytest.raises(InvalidSpec, match="features that 3 heads divide, or a head_size"):
        build((4, 8), {"type": "multi_head_attention", "heads": 3})
    layer = alone((4, 8), {"type": "multi_head_attention", "heads": 3, "head_size": 5})
    assert layer.query.weight.shape == (15, 8) and layer(drawn(1, 4, 8)).shape == (1, 4, 8)


def test_layer_norm_of_the_features_of_each_place_is_torchs() -> None:
    x = drawn(2, 4, 6)
    torch.testing.assert_close(alone((4, 6), {"type": "layer_norm", "axes": "last"})(x), nn.LayerNorm(6)(x))


def test_a_transformer_learns_what_needs_a_look_at_all_places() -> None:
    """Which of two tokens comes first, somewhere among others: no bag of words tells, an order does."""
    norm = {"type": "layer_norm", "axes": "last"}
    feed = [norm, {"type": "dense", "units": 32, "activation": "gelu"}, {"type": "dense", "units": 16}]
    layers = [
        {"type": "embedding", "input_dim": 8, "output_dim": 16, "initializer": {"type": "normal", "std": 0.5}},
        {"type": "positional_embedding", "kind": "sinusoidal"},
        {"type": "residual", "layers": [norm, {"type": "multi_head_attention", "heads": 4}]},
        {"type": "residual", "layers": feed},
        {"type": "residual", "layers": [norm, {"type": "multi_head_attention", "heads": 4}]},
        {"type": "residual", "layers": feed},
        "flatten",
        {"type": "dense", "units": "auto"},
    ]
    spec = NetworkSpec.model_validate({"layers": layers})
    network = materialize(build_network(spec, RegularizationSpec(), (8,), 2), 0)
    source = np.random.default_rng(0)
    x = source.integers(2, 8, (600, 8))
    places = np.array([source.choice(8, 2, replace=False) for _ in x])
    x[np.arange(600), places[:, 0]], x[np.arange(600), places[:, 1]] = 0, 1
    inputs, y = torch.tensor(x, dtype=torch.float32), torch.tensor(places[:, 0] < places[:, 1]).long()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs[:400]), y[:400]).backward()
        optimizer.step()
    assert float((network(inputs[400:]).argmax(1) == y[400:]).double().mean()) > 0.9


def test_sequences_too_long_to_hold_all_scores_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="at most 268,435,456 scores") as caught:
        build((20_000, 2), {"type": "multi_head_attention", "heads": 1})
    assert caught.value.problems[0].path == "network.layers[0]"
