"""What a rule is: a generator function with a docstring and a source; its code is its name."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType

from service.advice.view import View


@dataclass(frozen=True)
class Advice:
    """One rule that is broken: a stable code, where, why it matters, who says so, and what to do."""

    code: str
    path: str
    reason: str
    source: str
    mend: str


@dataclass(frozen=True)
class Finding:
    """What a rule found, and where."""

    path: str
    reason: str
    mend: str


Findings = Iterator[Finding]
Find = Callable[[View], Findings]


@dataclass(frozen=True)
class Rule:
    """A rule of the trade: what it says in a sentence, where that is written, and how breaches are found."""

    code: str
    says: str
    source: str
    find: Find

    def advice(self, view: View) -> Iterator[Advice]:
        """Return what is to be said of a specification: of every place once, whatever layers share it.

        Numbers at the end of what a float holds are not advised on: no rule of the trade is about them.
        """
        said: dict[str, Advice] = {}
        with suppress(ArithmeticError):
            for found in self.find(view):
                said.setdefault(found.path, Advice(self.code, found.path, found.reason, self.source, found.mend))
        return iter(said.values())


def rule(source: str) -> Callable[[Find], Rule]:
    """Return the decorator that makes a rule of a function; its docstring is what the rule says.

    `source` is where it is written: author, year, title or section. That is all there is to do: `rules_of` finds it.
    """

    def made(find: Find) -> Rule:
        return Rule(find.__name__, " ".join((find.__doc__ or "").split()), source, find)

    return made


def rules_of(theme: ModuleType) -> list[Rule]:
    """Return the rules that a module defines, in their order."""
    return [value for value in vars(theme).values() if isinstance(value, Rule)]
