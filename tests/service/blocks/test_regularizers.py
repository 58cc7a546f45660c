"""Penalties and constraints against their formulas."""

import pytest
import torch
from pydantic import ValidationError

from service.blocks.regularizers import Constraint, Regularizer
from tests.support.networks import build


def test_penalty_is_the_elastic_net() -> None:
    weight = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    assert Regularizer(l1=0.1, l2=0.01).penalty(weight).item() == pytest.approx(0.1 * 3.5 + 0.01 * 5.25)
    assert Regularizer().penalty(weight).item() == 0


@pytest.mark.parametrize("shape", [(3, 8), (3, 2, 2, 2)])
def test_max_norm_shrinks_only_what_is_too_long(shape: tuple[int, ...]) -> None:
    weight = torch.ones(shape) * torch.tensor([0.1, 1.0, 0.0]).view(-1, *[1] * (len(shape) - 1))
    before = weight.clone()
    Constraint(max_norm=2.0).project_(weight)
    norms = weight.flatten(1).norm(dim=1)
    assert norms.tolist() == pytest.approx([0.1 * 8**0.5, 2.0, 0.0])
    assert torch.equal(weight[0], before[0]) and torch.isfinite(weight).all()


def test_no_constraint_changes_nothing() -> None:
    weight = torch.full((2, 2), 9.0)
    Constraint().project_(weight)
    assert (weight == 9).all()


def test_unit_norm_gives_every_unit_the_length_1_and_leaves_zeros() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.1, 0.0], [0.0, 0.0]])
    Constraint(unit_norm=True).project_(weight)
    assert weight.flatten().tolist() == pytest.approx([0.6, 0.8, 1.0, 0.0, 0.0, 0.0])


def test_negative_weights_are_cut_before_lengths_are_looked_at() -> None:
    weight = torch.tensor([[3.0, -4.0], [-1.0, -2.0]])
    Constraint(non_negative=True, max_norm=2.0).project_(weight)
    assert weight.flatten().tolist() == pytest.approx([2.0, 0.0, 0.0, 0.0])


def test_two_lengths_at_once_are_refused() -> None:
    with pytest.raises(ValidationError, match="max_norm and unit_norm exclude each other"):
        Constraint(max_norm=1.0, unit_norm=True)


def test_activity_is_penalised_behind_the_activation_and_as_a_mean_over_rows() -> None:
    layer = {"type": "dense", "units": 3, "activation": "relu", "regularizer": {"activity_l1": 0.1, "activity_l2": 0.2}}
    network = build((4,), layer)
    x = torch.randn(5, 4)
    network.train()
    network(x)
    hidden = network.layers[next(iter(network.layers))](x).detach()
    network.activity.take()
    network(x)
    penalty = network.penalty()
    assert penalty is not None and network.kernels == {}
    assert penalty.item() == pytest.approx((0.1 * hidden.abs().sum() + 0.2 * hidden.square().sum()).item() / 5)
    assert network.penalty() is None  # what was taken is not counted again


def test_predictions_have_no_penalty() -> None:
    network = build((4,), {"type": "dense", "units": 3, "regularizer": {"activity_l2": 1.0}})
    network.eval()
    network(torch.randn(2, 4))
    assert network.penalty() is None


def test_a_layer_inside_of_another_is_penalised_too() -> None:
    inner = {"type": "dense", "units": 4, "regularizer": {"activity_l1": 1.0}}
    network = build((4,), {"type": "residual", "layers": [inner]})
    network.train()
    network(torch.randn(2, 4))
    penalty = network.penalty()
    assert penalty is not None and penalty.item() > 0 and penalty.requires_grad
