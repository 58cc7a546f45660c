"""How weights start."""

from typing import Annotated

import torch
from torch import Tensor

from service.blocks.base import Block, OneOf


class Initializer(Block):
    """A distribution, or a rule, for the first values of a weight."""

    family = "initializer"

    def fill(self, weight: Tensor, generator: torch.Generator) -> None:
        """Write the first values into `weight`, [out, in, *kernel] or [out], in place."""
        raise NotImplementedError


AnyInitializer = Annotated[Initializer, OneOf()]
