"""What a model must not be used for, as far as that follows from facts: each limit is a code and a sentence."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.blocks.coding import Hash, Ordinal
from service.blocks.encoding import OneHot
from service.blocks.tokens import Tokenize
from service.data.features import Features
from service.data.profile import ColumnProfile, key_of
from service.spec import JobSpec
from service.store.tables import Model

FEW_ROWS = 30
"""Of a class in the data: with fewer, what is measured of it is little more than chance."""
NAMED = 10
"""Columns or classes that a sentence names."""


@dataclass(frozen=True)
class Limit:
    """Something that the model cannot be trusted with."""

    code: str
    message: str


@dataclass(frozen=True)
class Facts:
    """What limits follow from."""

    row: Model
    spec: JobSpec
    features: Features
    profiles: dict[str, ColumnProfile]
    stochastic_layers: list[str]

    @property
    def inputs(self) -> list[ColumnProfile]:
        """The feature columns with their statistics."""
        return [self.profiles[column.name] for column in self.features.columns]

    @property
    def targets(self) -> list[ColumnProfile]:
        """The target columns with their statistics."""
        return [self.profiles[name] for name in self.spec.data.targets]


def limits_of(facts: Facts) -> list[Limit]:
    """Return every limit that holds, in the order of `RULES`."""
    return [Limit(rule.__name__, message) for rule in RULES for message in rule(facts)]


def input_ranges(facts: Facts) -> Iterator[str]:
    """Yield that numbers beyond those of the data are extrapolation."""
    ranged = [c for c in facts.inputs if c.type in ("integer", "number", "tensor") and c.min is not None]
    if ranged:
        shown = "; ".join(f"{c.name} {c.min:g} to {c.max:g}" for c in ranged[:NAMED])
        rest = f"; and {len(ranged) - NAMED:,} columns more" if len(ranged) > NAMED else ""
        yield f"It has seen numbers in these ranges only, and extrapolates beyond them: {shown}{rest}."


def missing_values(facts: Facts) -> Iterator[str]:
    """Yield which columns must have a value."""
    needed = [column.name for column in facts.inputs if column.name not in facts.features.fillable]
    if needed:
        yield f"Rows that lack a value of {_listed(needed)} are refused: no step fills it in."


def unseen_words(facts: Facts) -> Iterator[str]:
    """Yield what becomes of words that the data did not have."""
    for step, state in facts.features.steps:
        names = _listed(list(state["columns"]))
        if not state["columns"]:
            continue
        if isinstance(step, Hash):
            yield f"Values of {names} are told apart by a hash of {step.buckets} places only; some fall together."
        elif isinstance(step, Tokenize):
            yield f"Words of {names} that the training rows lack are one to it; only the first {step.length} are read."
        elif isinstance(step, OneHot | Ordinal):
            becomes = "are refused" if step.unknown == "error" else "all count as one that says nothing"
            yield f"Values of {names} that the data set lacks {becomes}."


def known_classes(facts: Facts) -> Iterator[str]:
    """Yield that there is no answer besides the classes."""
    if facts.row.task == "classification" and facts.row.classes:
        names = _listed([key_of(value) for value in facts.row.classes])
        yield f"It always names one of {names}, also for rows that belong to none of them."


def rare_classes(facts: Facts) -> Iterator[str]:
    """Yield the classes of which it has seen little."""
    counts = {
        key_of(c.value): c.count
        for t in facts.targets
        for c in t.categories or ()
        if facts.row.task == "classification"
    }
    rare = {name: count for name, count in counts.items() if count < FEW_ROWS}
    if rare:
        shown = ", ".join(f"{name} ({count})" for name, count in list(rare.items())[:NAMED])
        yield f"The data set has fewer than {FEW_ROWS} rows of some classes, of which little is known: {shown}."


def target_ranges(facts: Facts) -> Iterator[str]:
    """Yield in which range it has seen truth."""
    ranged = [t for t in facts.targets if facts.row.task == "regression" and t.min is not None]
    if ranged:
        shown = "; ".join(f"{t.name} {t.min:g} to {t.max:g}" for t in ranged[:NAMED])
        yield f"What it predicts was, in the data set, within: {shown}. Answers beyond were never checked."


def no_spread(facts: Facts) -> Iterator[str]:
    """Yield that without random layers there is nothing to sample."""
    if not facts.stochastic_layers and facts.row.members is None:
        yield "No layer is random: samples are all the same, and their spread of 0 says nothing of how sure it is."


def not_calibrated(facts: Facts) -> Iterator[str]:
    """Yield that nobody has compared its confidence with how often it is right."""
    if facts.row.calibration is None:
        yield "It was trained without validation rows: how far its confidence can be trusted is not known."


def no_test_rows(facts: Facts) -> Iterator[str]:
    """Yield that every measured row had a say in training."""
    if "test" not in facts.row.metrics:
        measured = (
            "validation rows, which may have chosen the weights"
            if "validation" in facts.row.metrics
            else "training rows"
        )
        yield f"No rows were held out for a test: its metrics are of {measured}, and look better than it is."


def small_test(facts: Facts) -> Iterator[str]:
    """Yield how far chance may have moved the accuracy."""
    rows = (facts.row.receipt.get("rows") or {}).get("test")
    accuracy = (facts.row.metrics.get("test") or {}).get("accuracy")
    if rows and isinstance(accuracy, int | float) and facts.row.task == "classification":
        # Wilson's interval does not end at a point where all rows are right.
        z = 1.96
        centre = (accuracy + z * z / (2 * rows)) / (1 + z * z / rows)
        half = z * math.sqrt(accuracy * (1 - accuracy) / rows + z * z / (4 * rows * rows)) / (1 + z * z / rows)
        within = f"{max(0.0, centre - half):.3f} to {min(1.0, centre + half):.3f} (95 %)"
        yield f"Its accuracy on {rows:,} test rows is {accuracy:.3f}; on all rows like them, {within}."


def not_repeatable(facts: Facts) -> Iterator[str]:
    """Yield that the same weights are not promised."""
    if facts.row.receipt.get("deterministic") is False:
        yield "It was trained on a device that adds up in no certain order: the same job may give other bits."


def trained_elsewhere(facts: Facts) -> Iterator[str]:
    """Yield that what is said of training was not seen here."""
    if "imported" in facts.row.receipt:
        yield "It was imported: metrics, calibration and receipt are what its file says of it."


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest


RULES: tuple[Callable[[Facts], Iterator[str]], ...] = (
    input_ranges,
    missing_values,
    unseen_words,
    known_classes,
    rare_classes,
    target_ranges,
    no_spread,
    not_calibrated,
    no_test_rows,
    small_test,
    not_repeatable,
    trained_elsewhere,
)
