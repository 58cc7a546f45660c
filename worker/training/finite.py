"""What is said of a loss that is no number any more."""

import math

from service.failures import NonFiniteLoss


def not_finite(what: str, value: float, step: int, epoch: int) -> NonFiniteLoss:
    """Return the error of a value that became NaN or infinite at a step of an epoch, both counted from 0."""
    said = "NaN" if math.isnan(value) else "infinite"
    return NonFiniteLoss(
        f"The {what} became {said} at step {step + 1} (epoch {epoch + 1}). Try a lower learning_rate, "
        "regularization.clip_norm, or standardized features, and check the data for extreme values."
    )
