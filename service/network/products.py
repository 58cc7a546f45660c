"""Matrix products of many members at once, in the order of operands that the processor multiplies fastest.

Shape letters: K members, R rows, I inputs, O outputs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

LANES = 16
"""Columns that a processor multiplies at once: of products with others between, those of small matrices take up to six
times as long."""


class StackedProducts(TorchFunctionMode):
    """Has dense layers of stacked networks computed by `_StackedLinear`, inside of a pass over the members.

    Torch's own way of running `linear` with a weight for every member adds the bias in a pass of its own, gives the
    gradient of a weight transposed, and multiplies in the order in which it finds the matrices.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation."""
        if func is functional.linear:
            return _linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    found: Tensor = _Linear.apply(rows, weight, bias)  # type: ignore[no-untyped-call]  # torch gives it no types
    return found if x.ndim == 2 else found.view(*x.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    """`linear` of one member: inside of a pass that of all members."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: members learn together or not at all."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:
        if in_dims[1] is None:
            raise RuntimeError("a weight that all members share")
        weight = weight.movedim(in_dims[1], 0)
        bias = bias if bias is None or in_dims[2] is None else bias.movedim(in_dims[2], 0)
        if in_dims[0] is not None:
            rows = x.movedim(in_dims[0], 0)
            return _StackedLinear.apply(rows, weight, bias), 0  # type: ignore[no-untyped-call]  # torch gives it no types
        # All members see the same rows: one product with all of their weights.
        wide = functional.linear(x, weight.flatten(0, 1), None if bias is None else bias.flatten())
        return torch.unflatten(wide, 1, weight.shape[:2]), 1


class _StackedLinear(torch.autograd.Function):
    """x W^T + b of every member: [K, R, I], [K, O, I] and [K, O] or None to [K, R, O]."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if bias is None:
            return _product(x, weight.transpose(1, 2))
        if _turned(x.shape[1], weight.shape[1]):
            return torch.baddbmm(bias.unsqueeze(2), weight, x.transpose(1, 2)).transpose(1, 2)
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, weight, bias = inputs
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight) if of_x else None,
            _product(gradient.transpose(1, 2), x) if of_weight else None,
            gradient.sum(1) if ctx.has_bias and of_bias else None,
        )


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of stacked matrices."""
    if _turned(a.shape[1], b.shape[2]):
        return torch.bmm(b.transpose(1, 2), a.transpose(1, 2)).transpose(1, 2)
    return torch.bmm(a, b)


def _turned(rows: int, columns: int) -> bool:
    """Tell whether a product is faster as the transpose of the product of the transposes."""
    return bool(columns % LANES) and (not rows % LANES or rows > columns)
