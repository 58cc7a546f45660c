"""Mixing: every training row with another one of its batch, and their losses in the same shares.

The loss of a mixed row is share * L(output, y) + (1 - share) * L(output, y of its partner), for classes and numbers
alike. In a pair that is mixed the roles are given so that a row keeps at least half of itself: pairs are drawn without
order, so this changes nothing but that the metrics of training compare with the label that has the larger share.

Letters: b batch, c channels, h height, w width.
"""

import math
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from service.blocks.augmentation import rectangle
from service.blocks.base import Block, OneOf, Shape

Alpha = Annotated[float, Field(ge=0.001, le=1000)]


class Mixed(NamedTuple):
    """A mixed batch.

    `x` [b, *shape]; `partner` int64 [b], the row that each was mixed with; `share` float32 [b] in [0.5, 1], what it
    keeps of itself.
    """

    x: Tensor
    partner: Tensor
    share: Tensor


class Mixing(Block):
    """Mixes every row of a training batch with another one, drawn at random, and their losses in the same shares."""

    family = "mixing"

    def refusal(self, shape: Shape) -> str | None:
        """Return what the mixing needs when it cannot take rows of `shape`, None when it can."""
        return None

    def mix(self, x: Tensor, source: torch.Generator) -> Mixed:
        """Return the rows of `x` mixed; `x` stays.

        Shape: float32 [batch, *shape] stays. `source` is on the device of `x`.
        """
        raise NotImplementedError


class Mixup(Mixing):
    """Rows become weighted means of two: x = s * x_i + (1 - s) * x_j, with s drawn from Beta(alpha, alpha) for each.

    Shape: any stays.

    Reference: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", eq. 1.
    """

    type: Literal["mixup"] = "mixup"
    alpha: Alpha = 0.2
    """How much rows are mixed: near 0 hardly, 1 evenly at all shares, large always half and half."""

    def mix(self, x: Tensor, source: torch.Generator) -> Mixed:
        partner = torch.randperm(len(x), generator=source, device=x.device)
        drawn = symmetric_beta(self.alpha, len(x), source)
        share = torch.maximum(drawn, 1 - drawn)
        return Mixed(torch.lerp(x[partner], x, share.view(-1, *[1] * (x.ndim - 1))), partner, share)


class CutMix(Mixing):
    """A rectangle of each image is that of another one; both count by the share of pixels that they have.

    The rectangle has the image's proportions and a share of its area drawn from Beta(alpha, alpha); its centre is
    uniform over the image, and what would lie outside is cut off. Shape: [channels, height, width] stays.

    Reference: Yun et al. 2019, "CutMix", eq. 1 and 2.
    """

    type: Literal["cutmix"] = "cutmix"
    alpha: Alpha = 1.0
    """How large rectangles are: 1 makes all areas equally likely, large half of the image."""

    def refusal(self, shape: Shape) -> str | None:
        return None if len(shape) == 3 else "needs images, [channels, height, width]"

    def mix(self, x: Tensor, source: torch.Generator) -> Mixed:
        partner = torch.randperm(len(x), generator=source, device=x.device)
        side = (1 - symmetric_beta(self.alpha, len(x), source)).sqrt().view(-1, 1, 1, 1)
        height, width = side * x.shape[2], side * x.shape[3]
        down, right = torch.rand(2, len(x), 1, 1, 1, generator=source, device=x.device)
        own = ~rectangle(x, down * x.shape[2] - height / 2, right * x.shape[3] - width / 2, height, width)
        share = own.float().mean(dim=(1, 2, 3), keepdim=True)
        own = own ^ (share < 0.5)
        share = torch.maximum(share, 1 - share).view(-1)
        return Mixed(torch.where(own, x, x[partner]), partner, share)


def symmetric_beta(alpha: float, count: int, source: torch.Generator) -> Tensor:
    """Return `count` draws from Beta(alpha, alpha), float32: a closed form of two uniform numbers each.

    `torch.distributions` takes no generator. With C = cos(2 pi V) and w = U^(1/alpha), draws are
    1/2 + C / (2 sqrt(C^2 + w / (1 - w))): a t-distributed number from Bailey's polar method, mapped to (0, 1).

    Reference: Bailey 1994, "Polar Generation of Random Variates with the t-Distribution"; Devroye 1996, "Random
    Variate Generation in One Line of Code", section 3.
    """
    u, v = torch.rand(2, count, generator=source, device=source.device, dtype=torch.float64)
    cos, w = torch.cos(2 * math.pi * v), u ** (1 / alpha)
    return (0.5 + cos / (2 * torch.sqrt(cos.square() + w / (1 - w)))).float()


AnyMixing = Annotated[Mixing, OneOf()]
