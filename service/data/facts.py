"""From profiles to facts: the frame that preprocessing will see, planned through every step without a row read."""

from collections.abc import Sequence

from service.blocks.base import Shape
from service.data.frame import Fact, Facts
from service.data.profile import ColumnProfile
from service.data.text import kind_of
from service.errors import Problem
from service.spec import DataSpec

IMAGE_CHANNELS = (1, 3, 4)


def features_of(data: DataSpec, columns: Sequence[ColumnProfile]) -> list[ColumnProfile]:
    """Return the feature columns, in the order of the spec or of the file; what cannot be one is left out."""
    by_name = {column.name: column for column in columns}
    if data.features is not None:
        return [by_name[name] for name in data.features if name in by_name and name not in data.targets]
    return [column for column in columns if column.name not in (*data.targets, *data.set_aside)]


def facts_of(columns: Sequence[ColumnProfile], layout: str) -> Facts:
    """Return what is known of the columns, with tensors laid out as the network sees them."""
    return {column.name: _fact(column, layout) for column in columns}


def _fact(column: ColumnProfile, layout: str) -> Fact:
    kind = kind_of(column.type)
    counts = None
    if column.categories is not None:
        pairs = [(i.value if isinstance(i.value, str) else float(i.value), i.count) for i in column.categories]
        counts = tuple(sorted(pairs))
    shape = laid_out_shape(column.shape or (), layout)
    return Fact(kind, shape, column.missing, counts, indicator=column.type == "boolean")


def laid_out_shape(shape: Shape, layout: str) -> Shape:
    """Return the shape of a tensor with its channels first; see `DataSpec.image_layout`."""
    if layout == "auto" and len(shape) == 2:
        return (1, *shape)
    if moves_channels(shape, layout):
        return (shape[-1], *shape[:-1])
    return shape


def moves_channels(shape: Shape, layout: str) -> bool:
    """Tell whether the last axis of such a tensor holds the channels."""
    if layout == "channels_last":
        return len(shape) >= 2
    return layout == "auto" and len(shape) == 3 and shape[-1] in IMAGE_CHANNELS


def planned(data: DataSpec, facts: Facts) -> tuple[Facts, list[Problem]]:
    """Return the facts behind the last step, and what stands in the way of a step."""
    problems: list[Problem] = []
    for i, step in enumerate(data.preprocessing):
        problems += prefixed(step.check(facts), f"data.preprocessing[{i}]")
        facts = step.plan(facts)
    return facts, problems


def prefixed(problems: Sequence[Problem], prefix: str) -> list[Problem]:
    """Return the problems with their paths below `prefix`."""
    return [Problem(f"{prefix}.{p.path}" if p.path else prefix, p.message, p.got, p.allowed) for p in problems]


def leftovers(facts: Facts) -> list[Problem]:
    """Return the columns that no network can take, and the step that would help."""
    problems = []
    for name, fact in facts.items():
        if fact.kind == "category":
            message = f'column {name!r} holds categories; add a "one_hot" step, or leave it out of data.features'
            problems.append(Problem("data.preprocessing", message, got=name))
        if fact.missing:
            helps = "replace them before uploading" if fact.kind == "tensor" else 'add an "impute" step'
            message = f"column {name!r} has {fact.missing} missing values; {helps}, or leave it out of data.features"
            problems.append(Problem("data.preprocessing", message, got=name))
    return problems


def vocabulary_of(facts: Facts) -> int | None:
    """Return how many token ids the features have; None where one holds other things, or does not say."""
    found = [fact.vocabulary for fact in facts.values()]
    return max((n for n in found if n is not None), default=None) if None not in found else None


def shape_of(facts: Facts) -> Shape:
    """Return the shape of a row: numbers and vectors one after the other, or the one tensor there is.

    Raises:
        ValueError: A tensor of more than one axis stands beside other columns, or there is no column.
    """
    shapes = {name: fact.shape for name, fact in facts.items()}
    if not shapes:
        raise ValueError("there is no feature column")
    tensors = [name for name, shape in shapes.items() if len(shape) > 1]
    if not tensors:
        return (sum(shape[0] if shape else 1 for shape in shapes.values()),)
    if len(shapes) > 1:
        found = list(shapes[tensors[0]])
        raise ValueError(f"column {tensors[0]!r} holds tensors of shape {found}, which must be the only feature")
    return shapes[tensors[0]]
