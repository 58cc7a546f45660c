"""Advice: rules of the trade that a specification breaks. Advice never blocks.

A rule is a generator function with a docstring under `@rule("its source")`; its code is its name. Writing it in the
module of its theme is all there is to do.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType

from service.advice import (
    activations,
    columns,
    data,
    dropouts,
    optimization,
    order,
    outputs,
    regularization,
    schedules,
    sequences,
    shapes,
    weights,
)
from service.advice.rules import Advice, Rule, rules_of
from service.advice.view import View, view_of
from service.data.profile import Profile
from service.network import Network
from service.spec import JobSpec

__all__ = ["RULES", "THEMES", "Advice", "Rule", "View", "advise"]

THEMES: Mapping[ModuleType, Sequence[Rule]] = {
    theme: rules_of(theme)
    for theme in (
        weights,
        activations,
        outputs,
        order,
        dropouts,
        shapes,
        sequences,
        optimization,
        schedules,
        regularization,
        data,
        columns,
    )
}
"""Every rule by its theme, in the order in which advice is given."""
RULES: Sequence[Rule] = [rule for rules in THEMES.values() for rule in rules]


def advise(spec: JobSpec, network: Network | None = None, profile: Profile | None = None) -> list[Advice]:
    """Return what could be better about `spec`.

    A `network` that is built already lets shapes be looked at, the `profile` of its data set the columns and rows.
    """
    view = view_of(spec, network, profile)
    return [advice for rule in RULES for advice in rule.advice(view)]
