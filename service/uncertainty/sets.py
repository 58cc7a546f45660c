"""Sets of classes that hold the right one with a probability that was asked for.

Shape letters: R rows, K classes or labels.

Reference: Sadinle, Lei and Wasserman 2019, "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels".
"""

import torch
from torch import Tensor


def nonconformity(probabilities: Tensor) -> Tensor:
    """Return the score of each class, one less its probability: the larger, the less the class would fit."""
    return 1.0 - probabilities


def sets_below(probabilities: Tensor, threshold: Tensor) -> Tensor:
    """Return which classes have a score of at most the threshold ([1], or [K] of labels), bool [R, K].

    No class may be among them: none is as likely as the right ones of the validation rows were.
    """
    return nonconformity(probabilities) <= threshold


def credible_sets(probabilities: Tensor, level: float) -> Tensor:
    """Return the smallest set of the likeliest classes that hold `level` of the probability, bool [R, K]."""
    ordered = probabilities.sort(dim=1, descending=True, stable=True)
    before = ordered.values.cumsum(1) - ordered.values
    return torch.zeros_like(probabilities, dtype=torch.bool).scatter_(1, ordered.indices, before < level)
