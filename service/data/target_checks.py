"""What a loss asks of the target columns, checked against their profiles: no row is read."""

from collections.abc import Sequence
from typing import Any

from service.blocks.losses import ClassLoss, Target
from service.blocks.value_losses import RegressionLoss
from service.data.profile import ColumnProfile, key_of
from service.data.target import classes_of
from service.errors import Problem
from service.spec import JobSpec

MAX_CLASSES = 10_000
SHOWN = 100


def target_from(spec: JobSpec, targets: Sequence[ColumnProfile]) -> Target:
    """Return the classes, or how many numbers there are to predict, of columns that suit the loss."""
    if spec.loss.task == "classification":
        return Target(classes_of(targets[0]), 1)
    return Target(None, sum(column.shape[0] if column.shape else 1 for column in targets))


def check_target(spec: JobSpec, targets: Sequence[ColumnProfile]) -> list[Problem]:
    """Return what keeps the target columns from being what the loss compares with."""
    checked = {"classification": _check_classes, "multi_label": _check_labels, "regression": _check_numbers}
    problems = checked[spec.loss.task](spec, targets)
    for column in targets:
        if column.missing or column.infinite:
            message = f"the target {column.name!r} has {column.missing + column.infinite} missing or infinite values"
            problems.append(Problem("data.target", message, got=column.name))
    if not problems:
        try:
            spec.loss.outputs(target_from(spec, targets))
        except ValueError as error:
            problems.append(Problem("loss", str(error), got=spec.loss.type))
    return problems


def _check_classes(spec: JobSpec, targets: Sequence[ColumnProfile]) -> list[Problem]:
    problems = []
    if spec.data.target_preprocessing:
        message = "scales the target of a regression; this loss is for classification"
        problems.append(Problem("data.target_preprocessing", message, got=spec.data.target_preprocessing))
    if len(targets) > 1:
        message = f"{spec.loss.type} is for one target column"
        return [*problems, Problem("data.target", message, got=list(spec.data.targets))]
    column = targets[0]
    if why := _no_classes(column):
        problems.append(Problem("data.target", f"the target {column.name!r} {why}", got=column.name))
    return problems or _check_class_weights(spec, column)


def _check_class_weights(spec: JobSpec, column: ColumnProfile) -> list[Problem]:
    """Return the classes that are weighted and that the target does not have."""
    weights = _weights(spec)
    if not isinstance(weights, dict):
        return []
    known = [key_of(value) for value in column.values or ()]
    unknown = [name for name in weights if name not in known]
    if not unknown and not any(weights.get(name, 1.0) for name in known):
        return [Problem("loss.class_weights", "leaves no class that counts", got=weights, allowed="a number above 0")]
    message = "is none of the classes of the target"
    return [Problem("loss.class_weights", f"{name!r} {message}", got=name, allowed=known[:SHOWN]) for name in unknown]


def _no_classes(column: ColumnProfile) -> str | None:
    if column.type == "tensor":
        return f"holds tensors of shape {list(column.shape or ())}; classification needs one value a row"
    if column.type == "number" and column.distinct is not None and column.categories is None:
        return 'holds numbers with fractions, which are no classes; for those, use a regression loss such as "mse"'
    if column.distinct is None or column.categories is None or column.distinct > MAX_CLASSES:
        return f"has more than {MAX_CLASSES:,} different values; is this a regression?"
    if column.distinct < 2:
        return "has only one class; there is nothing to tell apart"
    return None


def _check_labels(spec: JobSpec, targets: Sequence[ColumnProfile]) -> list[Problem]:
    """Return the target columns that do not say of every row whether a label holds."""
    problems = []
    for column in targets:
        if column.type == "tensor" and len(column.shape or ()) == 1:
            continue  # its elements are looked at when they are read
        if column.type != "boolean" and not set(column.values or ("none",)) <= {0, 1}:
            message = f"the target {column.name!r} holds other values than 0 and 1, or true and false"
            problems.append(Problem("data.target", message, got=column.name))
    unfit = {"data.target_preprocessing": spec.data.target_preprocessing, "loss.class_weights": _weights(spec)}
    for name, got in unfit.items():
        if got is not None:
            problems.append(Problem(name, "does not go with several labels", got=got))
    return problems


def _weights(spec: JobSpec) -> Any:
    return spec.loss.class_weights if isinstance(spec.loss, ClassLoss) else None


def _check_numbers(spec: JobSpec, targets: Sequence[ColumnProfile]) -> list[Problem]:
    problems = []
    loss = spec.loss
    if isinstance(loss, RegressionLoss) and not loss.scalable and spec.data.target_preprocessing is not None:
        message = f"would change what {loss.type} means: leave the target as it is"
        problems.append(Problem("data.target_preprocessing", message, got=spec.data.target_preprocessing))
    for column in targets:
        if column.type in ("category", "boolean"):
            message = (
                f"the target {column.name!r} holds {_plural(column)}; a regression loss needs numbers, "
                'classification has "cross_entropy"'
            )
            problems.append(Problem("data.target", message, got=column.name))
        elif column.type == "tensor" and len(column.shape or ()) > 1:
            message = f"the target {column.name!r} holds tensors of shape {list(column.shape or ())}; a vector would do"
            problems.append(Problem("data.target", message, got=column.name))
    return problems


def _plural(column: ColumnProfile) -> str:
    return "categories" if column.type == "category" else "true and false"
