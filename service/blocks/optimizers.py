"""What every optimizer is, and those that divide by nothing or by one running sum."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from service.blocks.base import Block, OneOf

Share = Annotated[float, Field(ge=0, lt=1)]
Epsilon = Annotated[float, Field(gt=0, le=1)]
Group = dict[str, Any]
"""Parameters (`params`) that torch moves alike; `factor` is theirs on the learning rate, 1 where it is not said."""
Parameters = Sequence[nn.Parameter] | Sequence[Group]


class Optimizer(Block):
    """A rule that moves weights along the gradient."""

    family = "optimizer"
    adaptive: ClassVar[bool] = True
    """True when every weight has a step size of its own."""
    searches: ClassVar[bool] = False
    """True when a step looks at the loss several times, so that it needs a closure to ask."""
    learning_rate: Annotated[float, Field(gt=0, le=1e9)] = 0.001
    """Step size before the schedule."""

    @property
    def state_tensors(self) -> int:
        """How many numbers it keeps for every weight."""
        raise NotImplementedError

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Return torch's optimizer over `parameters`, fused or foreach where torch has it.

        Whoever sets the rate of a group multiplies it by the group's factor.
        """
        raise NotImplementedError


def groups_of(parameters: Parameters) -> list[Group]:
    """Return parameters as groups, in their order."""
    plain = [p for p in parameters if isinstance(p, nn.Parameter)]
    return [{"params": plain}] if plain else [dict(group) for group in parameters if isinstance(group, dict)]


def decaying(parameters: Parameters, weight_decay: float) -> list[Group]:
    """Return groups of which the kernels decay; biases and scales are exempt."""
    found = []
    for group in groups_of(parameters):
        kernels = [p for p in group["params"] if p.ndim > 1]
        rest = [p for p in group["params"] if p.ndim <= 1]
        found += [{**group, "params": kernels, "weight_decay": weight_decay}] if kernels else []
        found += [{**group, "params": rest, "weight_decay": 0.0}] if rest else []
    return found


class Sgd(Optimizer):
    """Gradient descent: v = momentum * v + g; w = w - learning_rate * v.

    Reference: Robbins and Monro 1951; Sutskever et al. 2013, "On the Importance of Initialization and Momentum".
    """

    type: Literal["sgd"] = "sgd"
    adaptive = False
    learning_rate: Annotated[float, Field(gt=0, le=1e9)] = 0.01
    """Step size before the schedule."""
    momentum: Share = 0.0
    """Share of the velocity kept from step to step."""
    nesterov: bool = False
    """Look ahead along the velocity before taking the gradient."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "Sgd":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    @property
    def state_tensors(self) -> int:
        return int(self.momentum > 0)

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters, lr=self.learning_rate, momentum=self.momentum, nesterov=self.nesterov, fused=True
        )


class Rmsprop(Optimizer):
    """Divide by a running root mean square: s = rho * s + (1 - rho) * g^2; w = w - lr * g / (sqrt(s) + eps).

    Reference: Tieleman and Hinton 2012, lecture 6.5 of "Neural Networks for Machine Learning".
    """

    type: Literal["rmsprop"] = "rmsprop"
    rho: Share = 0.9
    """Share of the running mean square kept from step to step."""
    momentum: Share = 0.0
    """Share of the velocity kept from step to step."""
    epsilon: Epsilon = 1e-7
    """Added to the root, against division by zero."""

    @property
    def state_tensors(self) -> int:
        return 1 + int(self.momentum > 0)

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(
            parameters, lr=self.learning_rate, alpha=self.rho, eps=self.epsilon, momentum=self.momentum, foreach=True
        )


class Adagrad(Optimizer):
    """Divide by the root of all squared gradients so far: s = s + g^2; w = w - lr * g / (sqrt(s) + eps).

    Reference: Duchi, Hazan and Singer 2011, "Adaptive Subgradient Methods".
    """

    type: Literal["adagrad"] = "adagrad"
    learning_rate: Annotated[float, Field(gt=0, le=1e9)] = 0.01
    """Step size before the schedule."""
    initial_accumulator: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Value the sums of squares start from."""
    epsilon: Epsilon = 1e-7
    """Added to the root, against division by zero."""

    @property
    def state_tensors(self) -> int:
        return 1

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.Adagrad(
            parameters,
            lr=self.learning_rate,
            initial_accumulator_value=self.initial_accumulator,
            eps=self.epsilon,
            foreach=True,
        )


class Adadelta(Optimizer):
    """Steps in proportion to a running mean of past steps: w = w - lr * g * sqrt(d + eps) / sqrt(s + eps).

    Reference: Zeiler 2012, "ADADELTA: An Adaptive Learning Rate Method", algorithm 1.
    """

    type: Literal["adadelta"] = "adadelta"
    learning_rate: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    """Factor on the step that the rule takes by itself, before the schedule."""
    rho: Share = 0.95
    """Share of the running means kept from step to step."""
    epsilon: Epsilon = 1e-6
    """Added under both roots: it is also what the first steps are made of."""

    @property
    def state_tensors(self) -> int:
        return 2

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.Adadelta(parameters, lr=self.learning_rate, rho=self.rho, eps=self.epsilon, foreach=True)


AnyOptimizer = Annotated[Optimizer, OneOf()]
