"""What the samples of a prediction say: a mean, a spread, and where the doubt comes from.

Samples are added tile by tile, so that a classification never holds more than one tile of them. The spread is
that of the samples themselves (divided by T), so that the total variance of the mixture they stand for is exact.

Shape letters: T samples in all, S samples of a tile, R rows, K classes, C target columns.

Reference: Gal 2016, "Uncertainty in Deep Learning", section 3.3; Kendall and Gal 2017, "What Uncertainties Do We
Need in Bayesian Deep Learning for Computer Vision?", eq. 9.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from service.blocks.class_metrics import THRESHOLD
from service.uncertainty.density import log_density
from service.uncertainty.quantiles import mixture_quantiles, quantiles, share_below

Link = Callable[[Tensor], Tensor]
ZERO = torch.zeros((), dtype=torch.float64)
"""What sums begin with; never written to."""
CLASS_DOUBTS = ("predictive_entropy", "expected_entropy", "mutual_information", "variation_ratio")
VALUE_DOUBTS = ("std", "epistemic_std", "aleatoric_std")


class Moments:
    """Mean and standard deviation of samples that come in parts, free of cancellation.

    Reference: Chan, Golub and LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances", eq. 2.1.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self._squares = ZERO

    def add(self, values: Tensor) -> None:
        """Take in samples along the first axis, [S, ...] in float64."""
        # Not `torch.var_mean`: along the first axis it takes a hundred times as long.
        count = values.shape[0]
        mean = values.mean(0) if count > 1 else values[0]
        if count > 1:
            self._squares = self._squares + (values - mean).square_().sum(0)
        if self.count:
            shift, both = mean - self.mean, self.count + count
            self._squares = self._squares + shift.square() * (self.count * count / both)
            mean = self.mean + shift * (count / both)
        self.mean, self.count = mean, self.count + count

    @property
    def std(self) -> Tensor:
        """The standard deviation of all samples taken in."""
        return (self._squares / self.count).sqrt().expand_as(self.mean)


def entropy(p: Tensor) -> Tensor:
    """Return -sum_k p_k ln p_k over the last axis, [..., K] to [...], in nats; 0 ln 0 is 0."""
    logs = p.clamp_min(torch.finfo(p.dtype).tiny).log()
    # Not `neg`: that would turn certainty into -0.
    return (0.0 - (p * logs).sum(-1)).clamp_min(0.0)


@dataclass(frozen=True)
class ClassUncertainty:
    """What the samples say of the classes of every row; float64."""

    probabilities: Tensor
    """[R, K]"""
    probabilities_std: Tensor
    """[R, K]"""
    predictive_entropy: Tensor
    """[R]"""
    expected_entropy: Tensor
    """[R]"""
    mutual_information: Tensor
    """[R]"""
    variation_ratio: Tensor
    """[R]"""
    samples: Tensor | None
    """[R, T, K], when they were to be kept."""

    @property
    def doubts(self) -> dict[str, Tensor]:
        """How unsure the network is of every row, [R] by name."""
        return {name: getattr(self, name) for name in CLASS_DOUBTS}


class ClassSamples:
    """Takes in samples of a classification.

    With p_t the probabilities of sample t and H the entropy:
    predictive entropy = H(mean p_t), all the doubt there is; expected entropy = mean H(p_t), the doubt that every
    thinned network has for itself (noise of the data); mutual information = their difference, the doubt that
    comes from the networks contradicting each other, which more data would lessen; variation ratio = share of the
    networks whose likeliest class is not the one that most of them name.
    """

    def __init__(self, link: Link, keep: bool = False) -> None:
        self._link = link
        self._kept: list[Tensor] | None = [] if keep else None
        self._moments = Moments()
        self._entropies = self._votes = ZERO

    def add(self, outputs: Tensor) -> None:
        """Take in network outputs before the link, [S, R, outputs]."""
        p = self._link(outputs.double()).cpu()
        self._moments.add(p)
        self._entropies = self._entropies + self.entropy(p).sum(0)
        self._votes = self._votes + self.votes(p)
        if self._kept is not None:
            self._kept.append(p)

    def result(self) -> ClassUncertainty:
        """Return what all samples taken in say."""
        mean = self._moments.mean.clamp(0.0, 1.0)
        predictive, expected = self.entropy(mean), self._entropies / self._moments.count
        return ClassUncertainty(
            probabilities=mean,
            probabilities_std=self._moments.std,
            predictive_entropy=predictive,
            expected_entropy=expected,
            mutual_information=(predictive - expected).clamp_min(0.0),
            variation_ratio=self.dissent(self._votes / self._moments.count),
            samples=torch.cat(self._kept).movedim(0, 1) if self._kept else None,
        )

    def entropy(self, p: Tensor) -> Tensor:
        """Return the entropy of probabilities, [..., K] to [...], in nats."""
        return entropy(p)

    def votes(self, p: Tensor) -> Tensor:
        """Return how many samples find each class the likeliest, [S, R, K] to [R, K]."""
        # As the label is chosen: NumPy's argmax is the first of equals, torch's any of them.
        chosen = p.numpy().argmax(-1) + np.arange(p.shape[1]) * p.shape[2]
        return torch.from_numpy(np.bincount(chosen.ravel(), minlength=p[0].numel())).view_as(p[0]).double()

    def dissent(self, shares: Tensor) -> Tensor:
        """Return the share of samples that do not say what most do, from the shares of each class, [R, K] to [R]."""
        return 1.0 - shares.amax(-1)


class LabelSamples(ClassSamples):
    """Takes in samples of several labels: entropies are added up over them, the variation ratio is their mean."""

    def entropy(self, p: Tensor) -> Tensor:
        """Return the entropies of independent labels, added up, [..., K] to [...], in nats."""
        return entropy(torch.stack([p, 1.0 - p], dim=-1)).sum(-1)

    def votes(self, p: Tensor) -> Tensor:
        """Return how many samples say that each label holds, [S, R, K] to [R, K]."""
        return (p >= THRESHOLD).sum(0).double()

    def dissent(self, shares: Tensor) -> Tensor:
        """Return the share of samples that do not say what most do, mean over the labels, [R, K] to [R]."""
        return torch.minimum(shares, 1.0 - shares).mean(-1)


@dataclass(frozen=True)
class ValueUncertainty:
    """What the samples say of the target columns of every row, in the target's own units; float64."""

    mean: Tensor
    """[R, C]"""
    std: Tensor
    """[R, C]"""
    epistemic_std: Tensor
    """[R, C]"""
    aleatoric_std: Tensor | None
    """[R, C], where the network models the noise."""
    quantiles: Tensor
    """[Q, R, C], one after the other."""
    samples: Tensor
    """[R, T, C]"""
    noise: Tensor | None = None
    """[R, T, C], standard deviation of the target's own noise around each sample, where it is known."""

    @property
    def doubts(self) -> dict[str, Tensor]:
        """How unsure the network is of every row, [R] by name; of several columns the largest."""
        found = {name: getattr(self, name) for name in VALUE_DOUBTS}
        return {name: value.amax(-1) for name, value in found.items() if value is not None}

    def share_below(self, y: Tensor) -> Tensor:
        """Return how likely the predictive distribution finds it to stay below `y`, [R, C]."""
        noise = None if self.noise is None else self.noise.movedim(1, 0)
        return share_below(y, self.samples.movedim(1, 0), noise)

    def log_density(self, y: Tensor) -> Tensor:
        """Return how probable the predictive distribution finds `y`, [R, C], in nats of the target's own units.

        It is that of the mixture of all samples' noise; where nothing is known of the noise, of a normal distribution
        with the mean and the spread of the samples.
        """
        if self.noise is None:
            return log_density(y, self.mean.unsqueeze(0), self.std.unsqueeze(0))
        return log_density(y, self.samples.movedim(1, 0), self.noise.movedim(1, 0))


class ValueSamples:
    """Takes in samples of a regression.

    The spread of the means of the thinned networks is epistemic: more data would lessen it. The noise of the
    target itself (aleatoric) is known only where the loss models it. std^2 = epistemic_std^2 + aleatoric_std^2.
    """

    def __init__(
        self,
        link: Link,
        decode: Link,
        quantiles: Sequence[float],
        variance: Callable[[Tensor], Tensor | None] = lambda outputs: None,
    ) -> None:
        """Take in samples; `variance` gives that of the target's own noise, in its own units, or None."""
        self._link, self._decode, self._quantiles, self._variance = link, decode, tuple(quantiles), variance
        self._kept: list[Tensor] = []
        self._variances: list[Tensor] = []

    def add(self, outputs: Tensor) -> None:
        """Take in network outputs before the link, [S, R, outputs]."""
        self._kept.append(self._link(outputs).cpu())
        if (variance := self._variance(outputs)) is not None:
            self._variances.append(variance.cpu())

    def result(self) -> ValueUncertainty:
        """Return what all samples taken in say."""
        values = self._decode(torch.cat(self._kept).double())
        moments = Moments()
        moments.add(values)
        spread = None
        if not self._variances:
            noise, total = None, moments.std
            levels = quantiles(values, self._quantiles)
        else:
            variances = torch.cat(self._variances).double()
            spread, noise = variances.sqrt(), variances.mean(0).sqrt()
            total = (moments.std.square() + noise.square()).sqrt()
            levels = mixture_quantiles(values, spread, self._quantiles)
        return ValueUncertainty(
            mean=moments.mean,
            std=total,
            epistemic_std=moments.std,
            aleatoric_std=noise,
            quantiles=levels,
            samples=values.movedim(0, 1),
            noise=None if spread is None else spread.movedim(0, 1),
        )
