"""A built network as a torch module, and what is known of each of its layers and weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from service.blocks.base import Shape
from service.blocks.initializers import Initializer
from service.blocks.layers import Activated, Layer, Starts
from service.blocks.noise import StochasticModule, number_stochastic
from service.blocks.regularizers import Constraint, Regularizer
from service.network.activity import ActivityPenalties, ActivityRule
from service.network.learning import Learning
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

    `train()` lets the statistics of batch normalisations move that learn, `eval()` none. Dropout looks at neither: it
    is active where `set_noise` gave it noise. `records` are the layers of the list; `places` are all layers by their
    JSON path, those inside of others too.

    Shape: [batch, *input_shape] to [batch, outputs].
    """

    def __init__(
        self,
        layers: Stack,
        records: Sequence[LayerRecord],
        rules: Sequence[WeightRule],
        learning: Mapping[str, Learning],
        activities: Sequence[ActivityRule] = (),
        places: Mapping[str, LayerRecord] | None = None,
    ) -> None:
        super().__init__()
        self.learning = dict(learning)
        """When and how fast each parameter learns, by its name."""
        self.layers = layers
        self.records = tuple(records)
        self.places = dict(places or {})
        self.rules = tuple(rules)
        number_stochastic(self)
        tops = list(layers.items())
        self.stochastic_layers = [name for name, module in tops if _is_stochastic(module)]
        first = next((i for i, (_, module) in enumerate(tops) if _is_stochastic(module)), len(tops))
        self._before, self._behind = ([p for _, m in part for p in _pieces(m)] for part in (tops[:first], tops[first:]))
        norms = {name: m for name, m in self.named_modules() if isinstance(m, _BatchNorm)}
        self._norms = list(norms.values())
        self.has_batch_norm = any(self.learning[f"{name}.weight"].since is not None for name in norms)
        self.kernels = {r.parameter: (r.regularizer, r.constraint) for r in rules if r.regularizer or r.constraint}
        self.penalized = [(r.parameter, r.regularizer) for r in rules if r.regularizer is not None]
        self.activity = ActivityPenalties(activities)
        self.constrained = [r for r in rules if r.constraint is not None]
        self.learn(1)

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

    def learn(self, epoch: int) -> None:
        """Let learn what does so in an epoch, counted from 1; other weights, and their statistics, stay bit for bit."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(self.learning[name].at(epoch))
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Get ready to train, or to predict; a batch normalisation that does not learn is always ready to predict."""
        super().train(mode)
        for norm in self._norms:
            if not norm.weight.requires_grad:
                norm.eval()
        return self

    @property
    def parameter_count(self) -> int:
        """Numbers that are learned, here or where they come from."""
        return sum(p.numel() for p in self.parameters())

    def penalty(self) -> Tensor | None:
        """Return the sum of all penalties on kernels that learn and on outputs of the last pass; None without any."""
        kernels = [(self.get_parameter(name), regularizer) for name, regularizer in self.penalized]
        terms = [regularizer.penalty(kernel) for kernel, regularizer in kernels if kernel.requires_grad]
        terms += self.activity.take()
        return torch.stack(terms).sum() if terms else None

    def constrain_(self) -> None:
        """Project every constrained kernel that learns in place."""
        for rule in self.constrained:
            kernel = self.get_parameter(rule.parameter)
            if kernel.requires_grad:
                rule.project_(kernel.detach())

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


def _pieces(module: nn.Module) -> list[nn.Module]:
    """Return the modules that a layer runs one after the other, those left out that do nothing."""
    if isinstance(module, Activated):
        # Nobody else holds what a kernel gives.
        inplace = isinstance(module.activation, nn.ReLU)
        return [module.kernel, *([nn.ReLU(inplace=True)] if inplace else _pieces(module.activation))]
    return [] if isinstance(module, nn.Identity) else [module]


def _is_stochastic(module: nn.Module) -> bool:
    return any(isinstance(m, StochasticModule) and getattr(m, "rate", 1) for m in module.modules())
