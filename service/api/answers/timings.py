"""Where the time of a job goes."""

from service.api.answers.base import Answer


class Timings(Answer):
    """Seconds of all attempts of a job, those that were redone too."""

    data_seconds: float
    """Reading the data set, and gathering batches."""
    step_seconds: float
    """Training steps."""
    validation_seconds: float
    """Measuring on rows that are held out, and calibration."""
    checkpoint_seconds: float
    """Storing checkpoints and the model."""
    total_seconds: float
    """All of it, and what belongs to none of these: building the network, writing metrics."""
