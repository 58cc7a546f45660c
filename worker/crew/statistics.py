"""Batch normalisation over the rows of all processes of a crew.

Letters: b rows, c channels, n values of a channel in all rows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from worker.crew.group import Group
from worker.crew.member import Member


@contextmanager
def shared_statistics(network: nn.Module, member: Member) -> Iterator[None]:
    """Have every batch normalisation that learns look at the rows of all processes inside the block."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.training]
    for norm in norms:
        norm.forward = partial(_forward, norm, member)  # type: ignore[method-assign]  # in here alone
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _forward(norm: _BatchNorm, member: Member, x: Tensor) -> Tensor:
    places = x[0, 0].numel()
    counts = [rows * places for rows in member.share.counts()]
    apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Normalized.apply
    y, mean, variance = apply(x, norm.weight, norm.bias, norm.eps, member.group, counts)
    _move(norm, mean, variance, sum(counts))
    return y


@torch.no_grad()
def _move(norm: _BatchNorm, mean: Tensor, variance: Tensor, n: int) -> None:
    """Move the statistics that predictions use, as torch does: its variance is divided by n - 1."""
    assert norm.momentum is not None and norm.running_mean is not None and norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (n / (n - 1)), norm.momentum)


class _Normalized(torch.autograd.Function):
    """Ioffe and Szegedy 2015, algorithm 1, and the gradients of section 3, with sums over all processes.

    Shape: x [b, c, ...] stays; mean and variance [c]. Means and squares of the processes are put together as in Chan,
    Golub and LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", eq. 2.1.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, group: Group, counts: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        own = x.to(weight.dtype)
        n, total = own.new_tensor(counts).unsqueeze(1), sum(counts)
        variance, mean = torch.var_mean(own, _sides(x), correction=0)
        variances, means = group.all_of(torch.stack([variance, mean])).unbind(1)
        mean = (means * n).sum(0) / total
        variance = ((variances + (means - mean).square()) * n).sum(0) / total
        scale = torch.rsqrt(variance + eps)
        hat = (own - _wide(mean, x)) * _wide(scale, x)
        ctx.save_for_backward(hat, scale, weight)
        ctx.group, ctx.total = group, total
        ctx.mark_non_differentiable(mean, variance)
        return (hat * _wide(weight, x) + _wide(bias, x)).to(x.dtype), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, _mean: Tensor, _variance: Tensor) -> tuple[Tensor | None, ...]:
        hat, scale, weight = ctx.saved_tensors
        own, sides = dy.to(hat.dtype), _sides(dy)
        d_weight, d_bias = (own * hat).sum(sides), own.sum(sides)
        dx = None
        if ctx.needs_input_grad[0]:
            along, mean = ctx.group.sums(torch.stack([d_weight, d_bias])).div_(ctx.total).unbind()
            dx = (_wide(weight * scale, dy) * (own - _wide(mean, dy) - hat * _wide(along, dy))).to(dy.dtype)
        return dx, d_weight, d_bias, None, None, None


def _sides(x: Tensor) -> list[int]:
    return [side for side in range(x.ndim) if side != 1]


def _wide(values: Tensor, x: Tensor) -> Tensor:
    """Return values [c] as [1, c, 1, ...], to go with `x`."""
    return values.view(1, -1, *[1] * (x.ndim - 2))
