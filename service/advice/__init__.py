"""Advice: rules of the trade that a specification breaks. Advice never blocks.

A rule is a generator function with a docstring, listed at the bottom of its file; its code is its name.
"""

from collections.abc import Sequence

from service.advice import order, training, weights
from service.advice.view import Advice, Rule, View, view_of
from service.network import Network
from service.spec import JobSpec

__all__ = ["RULES", "Advice", "Rule", "View", "advise"]

RULES: Sequence[Rule] = (*weights.RULES, *order.RULES, *training.RULES)
"""Every rule, in the order in which advice is given."""


def advise(spec: JobSpec, network: Network | None = None) -> list[Advice]:
    """Return what could be better about `spec`; `network`, when it is built already, lets shapes be looked at."""
    view = view_of(spec, network)
    return [
        Advice(rule.__name__, finding.path, finding.reason, finding.mend) for rule in RULES for finding in rule(view)
    ]
