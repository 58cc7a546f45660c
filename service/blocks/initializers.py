"""How weights start."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from service.blocks.base import Block, OneOf


class Initializer(Block):
    """A distribution, or a rule, for the first values of a weight."""

    family = "initializer"
    symmetric: ClassVar[bool] = False
    """True when every unit starts the same, so that training can never tell them apart."""

    def fill(self, weight: Tensor, generator: torch.Generator) -> None:
        """Write the first values into `weight`, [out, in, *kernel] or [out], in place."""
        raise NotImplementedError


class Zeros(Initializer):
    """All zeros: right for biases, keeps units symmetric in kernels."""

    type: Literal["zeros"] = "zeros"
    symmetric = True

    def fill(self, weight: Tensor, generator: torch.Generator) -> None:
        weight.zero_()


class Constant(Initializer):
    """The same value everywhere, e.g. 0.01 for biases in front of ReLU."""

    type: Literal["constant"] = "constant"
    symmetric = True
    value: float = 0.0
    """The value."""

    def fill(self, weight: Tensor, generator: torch.Generator) -> None:
        weight.fill_(self.value)


class Normal(Initializer):
    """Gaussian with the mean and the standard deviation given."""

    type: Literal["normal"] = "normal"
    mean: float = 0.0
    """Mean."""
    std: Annotated[float, Field(gt=0, le=1e6)] = 0.05
    """Standard deviation."""

    def fill(self, weight: Tensor, generator: torch.Generator) -> None:
        weight.normal_(self.mean, self.std, generator=generator)


class Uniform(Initializer):
    """Uniform between `low` and `high`."""

    type: Literal["uniform"] = "uniform"
    low: float = -0.05
    """Lower end."""
    high: float = 0.05
    """Upper end, above `low`."""

    @model_validator(mode="after")
    def _some_room(self) -> "Uniform":
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self

    def fill(self, weight: Tensor, generator: torch.Generator) -> None:
        weight.uniform_(self.low, self.high, generator=generator)


class Ones(Initializer):
    """All ones."""

    type: Literal["ones"] = "ones"
    symmetric = True

    def fill(self, weight: Tensor, generator: torch.Generator) -> None:
        weight.fill_(1.0)


class TruncatedNormal(Initializer):
    """Gaussian whose values beyond two standard deviations are drawn again."""

    type: Literal["truncated_normal"] = "truncated_normal"
    mean: float = 0.0
    """Mean."""
    std: Annotated[float, Field(gt=0, le=1e6)] = 0.05
    """Standard deviation before truncation; what is left has 0.88 times as much."""

    def fill(self, weight: Tensor, generator: torch.Generator) -> None:
        low, high = self.mean - 2 * self.std, self.mean + 2 * self.std
        nn.init.trunc_normal_(weight, self.mean, self.std, low, high, generator=generator)


class Orthogonal(Initializer):
    """An orthogonal matrix times `gain`: rows (or columns, where there are more rows) of length one at right angles.

    A vector has nothing to be orthogonal to and is drawn as a Gaussian of standard deviation `gain`.

    Reference: Saxe, McClelland and Ganguli 2014, "Exact Solutions to the Nonlinear Dynamics of Learning".
    """

    type: Literal["orthogonal"] = "orthogonal"
    gain: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Factor."""

    def fill(self, weight: Tensor, generator: torch.Generator) -> None:
        if weight.ndim < 2:
            weight.normal_(0.0, self.gain, generator=generator)
        else:
            nn.init.orthogonal_(weight, self.gain, generator=generator)


class Identity(Initializer):
    """Ones on the diagonal, in the middle of a kernel, and zeros elsewhere: the layer starts by passing its input on.

    Reference: Le, Jaitly and Hinton 2015, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units".
    """

    type: Literal["identity"] = "identity"
    gain: float = 1.0
    """Value on the diagonal."""
    symmetric = True

    def fill(self, weight: Tensor, generator: torch.Generator) -> None:
        weight.zero_()
        if weight.ndim < 2:
            weight.fill_(self.gain)
            return
        middle = tuple(size // 2 for size in weight.shape[2:])
        for index in range(min(weight.shape[0], weight.shape[1])):
            weight[(index, index, *middle)] = self.gain


AnyInitializer = Annotated[Initializer, OneOf()]
