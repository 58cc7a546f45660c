"""What one unit can compute and what it takes two layers for."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.networks import alone, build, put

CORNERS = torch.tensor(list(product([0.0, 1.0], repeat=2)))
STEP = {"type": "dense", "units": 1, "activation": "step"}


@pytest.mark.parametrize(("bias", "table"), [(-1.5, [0, 0, 0, 1]), (-0.5, [0, 1, 1, 1])], ids=["and", "or"])
def test_a_perceptron_computes_and_and_or(bias: float, table: list[int]) -> None:
    network = build((2,), STEP, outputs=1)
    put(network, weight=[[1, 1]], bias=[bias])
    assert network(CORNERS)[:, 0].tolist() == table


numbers = st.floats(-100, 100, width=32)


@settings(deadline=None, max_examples=50)
@given(numbers, numbers, numbers)
def test_no_perceptron_computes_exclusive_or(w1: float, w2: float, bias: float) -> None:
    network = build((2,), STEP, outputs=1)
    put(network, weight=[[w1, w2]], bias=[bias])
    assert network(CORNERS)[:, 0].tolist() != [0, 1, 1, 0]
    # Why: what stands before the threshold sums up the same over either diagonal, and xor wants it below 0 on one only.
    put(line := alone((2,), {"type": "dense", "units": 1}), weight=[[w1, w2]], bias=[bias])
    z = line(CORNERS)[:, 0]
    torch.testing.assert_close(z[0] + z[3], z[1] + z[2], rtol=1e-5, atol=1e-4)


def test_two_layers_compute_exclusive_or() -> None:
    network = build((2,), {**STEP, "units": 2}, STEP, outputs=1)
    hidden, out = (record.module for record in network.records)
    put(hidden, weight=[[1, 1], [1, 1]], bias=[-0.5, -1.5])  # or, and
    put(out, weight=[[1, -1]], bias=[-0.5])  # or, but not and
    assert network(CORNERS)[:, 0].tolist() == [0, 1, 1, 0]


def test_two_linear_layers_are_one() -> None:
    linear = [{"type": "dense", "units": 4, "activation": "linear", "bias_initializer": "normal"}]
    network = build((3,), *linear, {"type": "dense", "units": 2, "bias_initializer": "normal"}, outputs=2)
    (a, b), (c, d) = (list(record.module.parameters()) for record in network.records)
    one = build((3,), {"type": "dense", "units": 2}, outputs=2)
    put(one, weight=c @ a, bias=c @ b + d)
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(x), one(x))
    bent = build((3,), {**linear[0], "activation": "relu"}, {"type": "dense", "units": 2}, outputs=2)
    bent.load_state_dict(network.state_dict())
    assert not torch.allclose(bent(x), one(x), atol=0.01)
