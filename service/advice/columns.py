"""Columns of the data set: what their profiles tell without a row being read."""

from service.advice.rules import Finding, Findings, rule
from service.advice.sources import GUO, HE_GARCIA
from service.advice.view import View
from service.blocks.coding import Ordinal
from service.blocks.embedding import Embedding
from service.blocks.encoding import OneHot
from service.blocks.imputation import Impute
from service.blocks.losses import ClassLoss, Focal
from service.blocks.scaling import MinMax
from service.blocks.squashing import Log
from service.blocks.tokens import Tokenize
from service.blocks.value_losses import Huber, LogCosh, Mae, Mse, SmoothL1
from service.data.profile import ColumnProfile

MANY_CODES = 100
FAR = 10.0
"""Deviations from the mean at which a value is far off."""
UNBALANCED = 4.0
"""How many times as frequent the commonest class is as the rarest from where accuracy misleads."""
RARE = 20.0
"""The same, from where the rarest class is hardly learned."""
MUCH_MISSING = 0.3
FEW = 20
BLIND = {"accuracy", "top_k_accuracy"}
"""Metrics that a network can score well on without ever naming a rare class."""


@rule('Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning"')
def many_codes(view: View) -> Findings:
    """A column of very many values needs a code shorter than one number for each."""
    for path, step, facts in view.known.stages(OneHot):
        for name in step.chosen(facts):
            codes = step.plan({name: facts[name]})[name].shape[0] if facts[name].counts else 0
            if codes > MANY_CODES:
                reason = f"Column {name!r} becomes {codes} numbers, nearly all of them zero in every row."
                yield Finding(path, reason, 'Use "hash" with some 64 buckets, or min_frequency for the rare values.')


@rule(GUO)
def ordinal_order(view: View) -> Findings:
    """Numbers that stand for categories say an order and distances that categories do not have."""
    if isinstance(view.top[0].layer, Embedding):
        return
    for index, step in enumerate(view.spec.data.preprocessing):
        if isinstance(step, Ordinal):
            reason = "The network takes the third value for more than the second, and for half as much as the sixth."
            mend = 'Use "one_hot", or put an "embedding" first; leave it where the values have an order.'
            yield Finding(f"data.preprocessing[{index}]", reason, mend)


@rule('Bengio et al. 2003, "A Neural Probabilistic Language Model", section 2')
def raw_tokens(view: View) -> Findings:
    """Ids of words are names, not quantities: each needs a vector of its own."""
    for index, step in enumerate(view.spec.data.preprocessing):
        if isinstance(step, Tokenize) and not isinstance(view.top[0].layer, Embedding):
            reason = "The ids of words reach the network as if they were sizes."
            yield Finding(f"data.preprocessing[{index}]", reason, 'Make an "embedding" the first layer.')


@rule('Huber and Ronchetti 2009, "Robust Statistics", section 1.4')
def outlying_feature(view: View) -> Findings:
    """One value far off decides the scale of all others where the least and the largest are asked."""
    for path, _, column in view.known.raw(MinMax):
        away = _farthest(column)
        if away > FAR:
            reason = (
                f"One value of column {column.name!r} lies {away:.0f} deviations off and squeezes the others together."
            )
            yield Finding(path, reason, 'Use "robust" or "standardize", or "log" before it.')


@rule('Box and Cox 1964, "An Analysis of Transformations", section 1')
def log_of_negatives(view: View) -> Findings:
    """Numbers are shifted above zero before their logarithm is taken."""
    for path, step, column in view.known.raw(Log):
        if not step.signed and column.min is not None and column.min <= -step.offset:
            reason = f"Column {column.name!r} goes down to {column.min:g}, where log(x + {step.offset:g}) has no value."
            yield Finding(f"{path}.offset", reason, "Use a larger offset, or set signed to true.")


@rule('Van Buuren 2018, "Flexible Imputation of Missing Data", section 1.3.3')
def heavy_imputation(view: View) -> Findings:
    """One value in the place of many missing ones hides that they were missing, and makes a column look certain."""
    rows = view.known.profile.rows if view.known.profile is not None else 1
    for path, step, column in view.known.raw(Impute):
        if not step.indicator and column.type != "tensor" and column.missing > MUCH_MISSING * rows:
            reason = f"{column.missing / rows:.0%} of column {column.name!r} would be one and the same value."
            yield Finding(f"{path}.indicator", reason, "Set indicator to true, or leave the column out.")


@rule('Kuhn and Johnson 2013, "Applied Predictive Modeling", section 3.5')
def constant_feature(view: View) -> Findings:
    """A column with one value tells nothing."""
    for column in view.known.features:
        if column.distinct == 1 and not column.missing:
            reason = f"Column {column.name!r} has the same value in all rows."
            yield Finding("data.features", reason, "Leave it out.")


@rule('Kaufman et al. 2012, "Leakage in Data Mining: Formulation, Detection, and Avoidance"')
def row_number(view: View) -> Findings:
    """What only names a row is no feature: it tells the training rows apart, or where a file was put together."""
    rows = view.known.profile.rows if view.known.profile is not None else 0
    for column in view.known.features:
        span = (column.max or 0) - (column.min or 0)
        if rows > FEW and column.type == "integer" and column.distinct == rows == span + 1:
            reason = f"Column {column.name!r} counts the rows."
            yield Finding("data.features", reason, "Leave it out.")


@rule(f"{HE_GARCIA}, section 4.1")
def unbalanced_accuracy(view: View) -> Findings:
    """Where one class is far more frequent, a network that always says it is already accurate."""
    counts = view.known.class_counts
    names = {metric.type for metric in view.spec.metrics}
    if _ratio(counts) >= UNBALANCED and names and names <= BLIND:
        reason = f"Always answering the commonest class is right in {counts[0] / sum(counts):.0%} of the rows."
        yield Finding("metrics", reason, 'Add "f1", "roc_auc" or "pr_auc".')


@rule(f"{HE_GARCIA}, section 3.2")
def unbalanced_loss(view: View) -> Findings:
    """Rare classes are learned when their rows count more."""
    counts, loss = view.known.class_counts, view.spec.loss
    if _ratio(counts) < RARE or not isinstance(loss, ClassLoss) or isinstance(loss, Focal):
        return
    if loss.class_weights is None and view.spec.data.sample_weight is None:
        reason = f"The commonest class has {counts[0]:,} rows, the rarest {counts[-1]:,}, and each counts the same."
        yield Finding("loss.class_weights", reason, 'Use "balanced", or the loss "focal".')


@rule('Golik, Doetsch and Ney 2013, "Cross-Entropy vs. Squared Error Training"')
def squared_error_of_classes(view: View) -> Findings:
    """Two values are two classes, which cross-entropy learns faster and better than squared errors."""
    if isinstance(view.spec.loss, Mse | Mae | Huber | SmoothL1 | LogCosh):
        for column in view.known.targets:
            if column.distinct == 2 or column.type == "boolean":
                reason = (
                    f"Column {column.name!r} has two values: they are classes, and errors of numbers fit them badly."
                )
                yield Finding("loss", reason, 'Use "binary_cross_entropy".')


@rule('Huber 1964, "Robust Estimation of a Location Parameter"')
def outlying_target(view: View) -> Findings:
    """Squared errors let one value far off outweigh hundreds of others."""
    if isinstance(view.spec.loss, Mse):
        for column in view.known.targets:
            away = _farthest(column)
            if away > FAR:
                reason = f"A value of {column.name!r} lies {away:.0f} deviations off; squared, it outweighs the others."
                yield Finding("loss", reason, 'Use "huber" or "mae".')


def _farthest(column: ColumnProfile) -> float:
    """Return how many deviations a number lies from the mean at most; 0 where that is not known."""
    if column.min is None or column.max is None or column.mean is None or not column.std:
        return 0.0
    return max(column.max - column.mean, column.mean - column.min) / column.std


def _ratio(counts: list[int]) -> float:
    return counts[0] / max(1, counts[-1]) if len(counts) > 1 else 1.0
