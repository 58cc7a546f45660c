"""Penalties and constraints against their formulas."""

import pytest
import torch

from service.blocks.regularizers import Constraint, Regularizer


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
