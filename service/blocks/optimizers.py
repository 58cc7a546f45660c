"""Optimizers."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from service.blocks.base import Block, OneOf


class Optimizer(Block):
    """A rule that moves weights along the gradient."""

    family = "optimizer"
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 0.001
    """Step size before the schedule."""

    def build(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's optimizer over `parameters`, fused or foreach where torch has it."""
        raise NotImplementedError


AnyOptimizer = Annotated[Optimizer, OneOf()]
