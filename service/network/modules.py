"""A built network as a torch module, and what is known of each of its layers and weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from service.blocks.base import Shape
from service.blocks.initializers import Initializer
from service.blocks.layers import Layer, Starts
from service.blocks.noise import StochasticModule, number_stochastic
from service.blocks.regularizers import Constraint, Regularizer
from service.network.activity import ActivityPenalties, ActivityRule
from service.randomness import generator

META = torch.device("meta")
PROBE_ROWS = 2
"""Rows of the batches that are run on the meta device to see what comes of them."""


@dataclass(frozen=True)
class LayerRecord:
    """A built layer: its block, its place in the JSON and the shapes around it (no batch dimension)."""

    name: str
    path: str
    layer: Layer
    module: nn.Module
    input_shape: Shape
    output_shape: Shape


@dataclass(frozen=True)
class WeightRule:
    """How a weight starts, and for kernels what penalises and constrains it."""

    parameter: str
    initializer: Initializer
    regularizer: Regularizer | None = None
    constraint: Constraint | None = None
    groups: int = 0
    """Of a kernel that has its inputs first [in, out / groups, ...]: its groups; 0 for all others."""
    starts: Starts = (None,)
    """How the parts start that stand one below the other along the units; None: from `initializer`."""

    def fill(self, weight: Tensor, source: torch.Generator) -> None:
        """Give the weight its first value, in place."""
        by_unit = self._by_unit(weight)
        for part, own in zip(by_unit.chunk(len(self.starts)), self.starts, strict=True):
            (own or self.initializer).fill(part, source)
        self._put(by_unit, weight)

    def project_(self, weight: Tensor) -> None:
        """Put the weight where the constraint wants it, in place."""
        if self.constraint is not None:
            by_unit = self._by_unit(weight)
            self.constraint.project_(by_unit)
            self._put(by_unit, weight)

    def _by_unit(self, weight: Tensor) -> Tensor:
        """Return the weights into each unit, [out, in / groups, ...]: the weight itself where it is kept so."""
        if not self.groups:
            return weight
        grouped = weight.view(self.groups, -1, *weight.shape[1:]).transpose(1, 2)
        return grouped.reshape(-1, *grouped.shape[2:]).contiguous()

    def _put(self, by_unit: Tensor, weight: Tensor) -> None:
        if self.groups:
            grouped = by_unit.view(self.groups, weight.shape[1], -1, *weight.shape[2:]).transpose(1, 2)
            weight.copy_(grouped.reshape(weight.shape))


class Stack(nn.ModuleDict):
    """Modules applied one after the other, by name."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last module."""
        for module in self.values():
            x = module(x)
        return x


class Network(nn.Module):
    """A built network.

    `eval()` freezes the statistics of batch normalisation. Dropout looks at neither `train()` nor `eval()`: it
    is active where `set_noise` gave it noise.

    Shape: [batch, *input_shape] to [batch, outputs].
    """

    def __init__(
        self,
        layers: Stack,
        records: Sequence[LayerRecord],
        rules: Sequence[WeightRule],
        activities: Sequence[ActivityRule] = (),
    ) -> None:
        super().__init__()
        self.layers = layers
        self.records = tuple(records)
        self.rules = tuple(rules)
        number_stochastic(self)
        tops = list(layers.items())
        self.stochastic_layers = [name for name, module in tops if _is_stochastic(module)]
        first = next((i for i, (_, module) in enumerate(tops) if _is_stochastic(module)), len(tops))
        self._before, self._behind = [m for _, m in tops[:first]], [m for _, m in tops[first:]]
        self.has_batch_norm = any(isinstance(m, _BatchNorm) for m in self.modules())
        self.kernels = {r.parameter: (r.regularizer, r.constraint) for r in rules if r.regularizer or r.constraint}
        self.penalized = [(r.parameter, r.regularizer) for r in rules if r.regularizer is not None]
        self.activity = ActivityPenalties(activities)
        self.constrained = [r for r in rules if r.constraint is not None]

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs: logits, or plain numbers for regression."""
        out: Tensor = self.layers(x)
        return out

    def prefix(self, x: Tensor) -> Tensor:
        """Return what reaches the first stochastic layer; the outputs where there is none."""
        for module in self._before:
            x = module(x)
        return x

    def suffix(self, x: Tensor) -> Tensor:
        """Return the outputs from what reaches the first stochastic layer."""
        for module in self._behind:
            x = module(x)
        return x

    @property
    def parameter_count(self) -> int:
        """Numbers that training changes."""
        return sum(p.numel() for p in self.parameters())

    def penalty(self) -> Tensor | None:
        """Return the sum of all penalties on kernels, and on what the last forward pass gave; None without any."""
        terms = [regularizer.penalty(self.get_parameter(name)) for name, regularizer in self.penalized]
        terms += self.activity.take()
        return torch.stack(terms).sum() if terms else None

    def constrain_(self) -> None:
        """Project every constrained kernel in place."""
        for rule in self.constrained:
            rule.project_(self.get_parameter(rule.parameter).detach())

    @torch.no_grad()
    def initialize(self, seed: int) -> None:
        """Give every weight its first value, on the CPU: a function of (seed, position of the weight)."""
        ruled = {rule.parameter for rule in self.rules}
        for path, module in self.named_modules():
            own = [f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)]
            # What no rule speaks of, scales and statistics of normalisations, starts as torch has it.
            if hasattr(module, "reset_parameters") and not ruled.issuperset(own or [path]):
                module.reset_parameters()
        for index, rule in enumerate(self.rules):
            rule.fill(self.get_parameter(rule.parameter).data, generator(seed, "init", index))


def _is_stochastic(module: nn.Module) -> bool:
    return any(isinstance(m, StochasticModule) and getattr(m, "rate", 1) for m in module.modules())
