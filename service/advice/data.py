"""How data are divided, scaled and augmented."""

from service.advice.rules import Finding, Findings, rule
from service.advice.sources import GOODFELLOW, HASTIE, LECUN
from service.advice.view import View
from service.blocks.affine import RandomRotation
from service.blocks.centering import ImageMean
from service.blocks.embedding import Embedding
from service.blocks.flip_and_crop import RandomFlip
from service.blocks.normalization import BatchNorm
from service.blocks.scaling import ChannelMean, Scaling
from service.blocks.value_losses import RegressionLoss
from service.blocks.whitening import PcaWhitening
from service.data.profile import ColumnProfile

SHIFTED = 3.0
"""Means, in absolute numbers, up to which a feature counts as scaled already."""
SPREAD = (0.1, 3.0)
"""Deviations of what counts as scaled already."""
TARGET_SPREAD = (0.1, 10.0)
MOST_HELD_BACK = 0.5
FEW_ROWS = 20
SMALL_IMAGE = 32


@rule(f"{LECUN}, section 4.3")
def unscaled_input(view: View) -> Findings:
    """Features of different sizes make a loss surface that is steep one way and flat another."""
    first = view.top[0].layer
    if isinstance(first, BatchNorm | Embedding) or any(_scales(step) for step in view.spec.data.preprocessing):
        return
    numbers = [column for column in view.known.features if column.type not in ("category", "boolean")]
    if view.known.profile is None or any(not _near(column, SHIFTED, SPREAD) for column in numbers):
        reason = "Features of different sizes learn at different speeds."
        mend = 'Add "standardize" or "min_max", unless the data are scaled already.'
        yield Finding("data.preprocessing", reason, mend)


@rule('Bishop 1995, "Neural Networks for Pattern Recognition", section 8.2')
def unscaled_target(view: View) -> Findings:
    """The first steps of a regression go into reaching the size of the target."""
    loss = view.spec.loss
    scalable = isinstance(loss, RegressionLoss) and loss.scalable
    if not scalable or view.spec.data.target_preprocessing is not None:
        return
    if not view.known.targets or any(not _near(column, SHIFTED, TARGET_SPREAD) for column in view.known.targets):
        reason = (
            "Unless the target is near mean 0 and variance 1, learning starts far off and its speed depends on units."
        )
        mend = 'Set data.target_preprocessing to "standardize"; predictions come back in the target\'s own units.'
        yield Finding("data.target_preprocessing", reason, mend)


@rule(f"{GOODFELLOW}, section 5.3")
def no_validation(view: View) -> Findings:
    """Without rows held back nothing tells when learning turns into memorising."""
    split, rows = view.spec.data.split, view.known.validation_rows
    if split.validation == 0 and (split.column is None or rows == 0):
        reason = "Without validation rows nothing shows overfitting, and the last weights are kept, not the best."
        yield Finding("data.split.validation", reason, "Hold back 0.1 to 0.2 of the rows.")


@rule(f"{HASTIE}, section 7.2")
def no_test(view: View) -> Findings:
    """Rows that decided when to stop are no judge of how good the result is."""
    split = view.spec.data.split
    if split.test == 0 and split.column is None and view.spec.regularization.early_stopping is not None:
        reason = "The validation rows choose the weights: their error is better than that of new rows will be."
        yield Finding("data.split.test", reason, "Hold back 0.1 of the rows, which are used once, at the end.")


@rule(f"{HASTIE}, section 7.2")
def few_training_rows(view: View) -> Findings:
    """At least half of the rows should train."""
    split = view.spec.data.split
    if split.validation + split.test > MOST_HELD_BACK:
        reason = f"{split.validation + split.test:.0%} of the rows are held back, which teach nothing."
        path = "data.split.validation" if split.validation >= split.test else "data.split.test"
        yield Finding(path, reason, "Hold back 0.1 to 0.25 of the rows for each.")


@rule(f"{GOODFELLOW}, section 5.3.1")
def few_validation_rows(view: View) -> Findings:
    """An error measured on a few rows says little of that on others."""
    rows = view.known.validation_rows
    if rows is not None and 0 < rows < FEW_ROWS:
        reason = f"About {rows} rows validate: one of them more or less moves every metric by {1 / rows:.0%}."
        yield Finding("data.split.validation", reason, "Hold back more rows, or gather more.")


@rule(f"{GOODFELLOW}, section 7.4")
def turned_characters(view: View) -> Findings:
    """Augmentation must not turn a row into one of another class: b mirrored is d, 6 upside down is 9."""
    shape = view.input_shape
    small = len(shape) == 3 and shape[0] == 1 and max(shape[1:]) <= SMALL_IMAGE
    for index, step in enumerate(view.spec.data.augmentation if small else ()):
        turned = isinstance(step, RandomRotation) and max(map(abs, step.degrees)) > 90
        if isinstance(step, RandomFlip) or turned:
            reason = f"Small grey images are often characters, and {step.type} turns some into others."
            mend = "Leave it out where images show characters; small shifts and rotations do no harm."
            yield Finding(f"data.augmentation[{index}]", reason, mend)


def _scales(step: object) -> bool:
    if isinstance(step, ImageMean):
        return step.divide
    return isinstance(step, PcaWhitening) or (isinstance(step, Scaling) and not isinstance(step, ChannelMean))


def _near(column: ColumnProfile, shift: float, spread: tuple[float, float]) -> bool:
    """Tell whether a column is known to have about mean 0 and deviation 1."""
    if column.mean is None or column.std is None:
        return False
    return abs(column.mean) <= shift and (spread[0] <= column.std <= spread[1] or column.distinct == 1)
