"""Why a job failed: errors that are kept on the job, and are never an HTTP answer.

TrainingFailed
|-- NonFiniteLoss               non_finite_loss
|-- OutOfMemory                 out_of_memory
|-- TimeLimit                   time_limit
|-- DatasetGone                 dataset_gone
|-- CacheFailed                 cache_failed
|-- WeightsGone                 weights_gone
`-- AttemptsExhausted           attempts_exhausted
"""

from service.errors import TrainyardError


class TrainingFailed(TrainyardError):
    """The training run failed."""

    code = "training_failed"


class NonFiniteLoss(TrainingFailed):
    """The loss became NaN or infinite."""

    code = "non_finite_loss"


class OutOfMemory(TrainingFailed):
    """The device ran out of memory."""

    code = "out_of_memory"


class TimeLimit(TrainingFailed):
    """The run took longer than the job allows."""

    code = "time_limit"


class DatasetGone(TrainingFailed):
    """The data set of this job no longer exists or cannot be read."""

    code = "dataset_gone"


class CacheFailed(TrainingFailed):
    """The worker's disk cannot keep the data of this job."""

    code = "cache_failed"


class WeightsGone(TrainingFailed):
    """The weights that this job starts from cannot be read."""

    code = "weights_gone"


class AttemptsExhausted(TrainingFailed):
    """Every attempt to run this job was lost."""

    code = "attempts_exhausted"
