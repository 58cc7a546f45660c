"""What a spec asks of a data set, checked against the profile of its columns: no row is read."""

from collections.abc import Sequence
from difflib import get_close_matches

from service.blocks.augmentation import Augmentation
from service.blocks.base import Shape
from service.blocks.losses import Target
from service.blocks.mixing import Mixing
from service.data.facts import facts_of, features_of, leftovers, planned, shape_of, vocabulary_of
from service.data.frame import Facts
from service.data.profile import ColumnProfile
from service.data.roles import check_split, check_weight
from service.data.target_checks import SHOWN, check_target, target_from
from service.errors import InvalidSpec, Problem
from service.spec import DataSpec, JobSpec


def check_columns(spec: JobSpec, columns: Sequence[ColumnProfile], rows: int | None = None) -> list[Problem]:
    """Return everything in the spec that does not fit these columns; `rows` lets the split be checked, too."""
    by_name = {column.name: column for column in columns}
    names = _check_names(spec.data, by_name)
    targets = [by_name[name] for name in spec.data.targets if name in by_name]
    # Checks that build on the names would only repeat that one of them is wrong.
    target = check_target(spec, targets) if len(targets) == len(spec.data.targets) else []
    features = _check_features(spec.data, columns)
    return [*names, *target, *features, *check_split(spec, by_name, rows), *check_weight(spec.data, by_name)]


def input_shape_of(spec: JobSpec, columns: Sequence[ColumnProfile]) -> Shape:
    """Return the shape of a row as the network will see it.

    Raises:
        InvalidSpec: The feature columns cannot be made into numbers.
    """
    if problems := _check_features(spec.data, columns):
        raise InvalidSpec(problems)
    return shape_of(_planned(spec.data, columns))


def token_count_of(spec: JobSpec, columns: Sequence[ColumnProfile]) -> int | None:
    """Return how many token ids the rows hold as the network will see them; None where they hold other things."""
    return vocabulary_of(_planned(spec.data, columns))


def _planned(data: DataSpec, columns: Sequence[ColumnProfile]) -> Facts:
    return planned(data, facts_of(features_of(data, columns), data.image_layout))[0]


def check_shape(spec: JobSpec, shape: Shape) -> list[Problem]:
    """Return what augments or mixes rows of the shape that the network sees, and cannot."""
    blocks: list[tuple[str, Augmentation | Mixing]] = [
        (f"data.augmentation[{i}]", step) for i, step in enumerate(spec.data.augmentation)
    ]
    if spec.regularization.mixing is not None:
        blocks.append(("regularization.mixing", spec.regularization.mixing))
    refused = [(path, block, block.refusal(shape)) for path, block in blocks]
    return [
        Problem(path, f"{block.type} {why}; rows have the shape {list(shape)}", got=list(shape))
        for path, block, why in refused
        if why
    ]


def target_of(spec: JobSpec, columns: Sequence[ColumnProfile]) -> Target:
    """Return the classes, or how many numbers there are to predict.

    Raises:
        InvalidSpec: The target columns do not suit the loss.
    """
    by_name = {column.name: column for column in columns}
    unknown = [problem for problem in _check_names(spec.data, by_name) if problem.path.startswith("data.target")]
    if unknown:
        raise InvalidSpec(unknown)
    targets = [by_name[name] for name in spec.data.targets]
    if problems := check_target(spec, targets):
        raise InvalidSpec(problems)
    return target_from(spec, targets)


def _check_names(data: DataSpec, by_name: dict[str, ColumnProfile]) -> list[Problem]:
    """Return names that no column has, that stand twice, or that are target and feature at once."""
    listed = isinstance(data.target, list)
    problems = _unknown_or_twice(data.targets, "data.target", by_name, listed=listed)
    problems += _unknown_or_twice(data.features or [], "data.features", by_name, listed=True)
    problems += _check_set_aside(data, by_name)
    for i, name in enumerate(data.features or []):
        if name in data.targets:
            problems.append(Problem(f"data.features[{i}]", f"{name!r} is the target; it cannot be a feature", got=name))
    features = data.features if data.features is not None else [c.name for c in features_of(data, [*by_name.values()])]
    for i, step in enumerate(data.preprocessing):
        for j, name in enumerate(step.columns or []):
            if name not in features:
                path = f"data.preprocessing[{i}].columns[{j}]"
                problems.append(_no_feature(path, name, data, features, by_name))
    return problems


def _unknown_or_twice(
    names: Sequence[str], path: str, by_name: dict[str, ColumnProfile], *, listed: bool
) -> list[Problem]:
    problems = []
    for i, name in enumerate(names):
        where = f"{path}[{i}]" if listed else path
        if name not in by_name:
            problems.append(_no_column(where, name, list(by_name)))
        elif name in names[:i]:
            problems.append(Problem(where, f"{name!r} stands twice", got=name))
    return problems


def _check_set_aside(data: DataSpec, by_name: dict[str, ColumnProfile]) -> list[Problem]:
    """Return what is wrong with the names of the columns that divide or weigh the rows."""
    problems = []
    split = data.split
    for path, name in (
        ("data.split.column", split.column),
        ("data.split.group", split.group),
        ("data.sample_weight", data.sample_weight),
    ):
        if name is None:
            continue
        if name not in by_name:
            problems.append(_no_column(path, name, list(by_name)))
        elif name in data.targets:
            problems.append(Problem(path, f"{name!r} is the target", got=name))
        elif name in (data.features or []) and path != "data.split.group":
            message = f"{name!r} is {path}; it cannot be a feature"
            problems.append(Problem(f"data.features[{(data.features or []).index(name)}]", message, got=name))
    return problems


def _no_column(path: str, name: str, names: Sequence[str], what: str = "column") -> Problem:
    close = get_close_matches(name, names, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return Problem(path, f"there is no {what} {name!r}{hint}", got=name, allowed=list(names[:SHOWN]))


def _no_feature(
    path: str, name: str, data: DataSpec, features: Sequence[str], by_name: dict[str, ColumnProfile]
) -> Problem:
    if name in data.targets:
        message = f"{name!r} is the target; data.target_preprocessing scales it"
        return Problem(path, message, got=name, allowed=list(features[:SHOWN]))
    if name in by_name:
        return Problem(path, f"{name!r} is not among data.features", got=name, allowed=list(features[:SHOWN]))
    return _no_column(path, name, features, "feature")


def _check_features(data: DataSpec, columns: Sequence[ColumnProfile]) -> list[Problem]:
    """Return what keeps the feature columns from becoming numbers of one shape."""
    features = features_of(data, columns)
    facts, problems = planned(data, facts_of(features, data.image_layout))
    for column in features:
        if column.infinite:
            message = f"column {column.name!r} has {column.infinite} infinite values"
            problems.append(Problem("data.features", message, got=column.name))
    named = {problem.got for problem in problems}
    problems += [problem for problem in leftovers(facts) if problem.got not in named]
    if not problems:
        try:
            shape_of(facts)
        except ValueError as error:
            problems.append(Problem("data.features", str(error)))
    return problems[:SHOWN]
