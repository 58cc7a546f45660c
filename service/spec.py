"""The job specification: the whole request, canonical and hashable."""

import hashlib
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, TypeAdapter, ValidationInfo, field_validator, model_validator

from service.blocks.activations import AnyActivation
from service.blocks.augmentation import AnyAugmentation
from service.blocks.averaging import AnyAveraging
from service.blocks.base import Strict
from service.blocks.initializers import AnyInitializer
from service.blocks.layers import AnyLayer
from service.blocks.losses import AnyLoss, BinaryCrossEntropy
from service.blocks.metrics import DEFAULT_METRICS, AnyMetric, Metric
from service.blocks.mixing import AnyMixing
from service.blocks.optimizers import AnyOptimizer
from service.blocks.preprocessing import AnyPreprocessing
from service.blocks.pretrained import Pretrained
from service.blocks.pretraining import AnyPretraining
from service.blocks.regularizers import Constraint, EarlyStopping, Regularizer
from service.blocks.schedules import AnySchedule
from service.blocks.values import Says
from service.devices import MOST_DEVICES, asked
from service.splitting import Split

CAME_LATER = {"keep": "best", "devices": 1, "tf32": False, "compile": False}
"""Settings of training that came later: by default they leave the hashes of specifications as they were."""
_METRICS: TypeAdapter[list[Metric]] = TypeAdapter(list[AnyMetric])
MOST_REPLICAS = 256


class NetworkSpec(Strict):
    """The layers, and what they share unless they say otherwise."""

    layers: Annotated[list[AnyLayer], Field(min_length=1, max_length=500)]
    """The layers, first to last. The last one gives the outputs that the loss reads."""
    activation: AnyActivation | None = None
    """Default activation of every layer with weights but the last."""
    initializer: AnyInitializer | None = None
    """Default initializer of kernels; unset: the one that suits the activation behind the layer."""
    bias_initializer: AnyInitializer | None = None
    """Default initializer of biases; unset: zeros."""
    regularizer: Regularizer | None = None
    """Default penalty on kernels."""
    constraint: Constraint | None = None
    """Default constraint on kernels."""


class RegularizationSpec(Strict):
    """What keeps the whole network from overfitting."""

    l1: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Penalty on the absolute values of every kernel that has no regularizer of its own."""
    l2: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Penalty on the squares of every kernel that has no regularizer of its own."""
    max_norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Largest norm of the weights into a unit, for every kernel that has no constraint of its own."""
    early_stopping: EarlyStopping | None = None
    """Stop when a metric no longer gets better; default: train all epochs."""
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Scale the gradient down to this Euclidean norm when it is larger."""
    clip_value: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Cut every number of the gradient off at this size, before `clip_norm`."""
    mixing: AnyMixing | None = None
    """Train on mixtures of two rows; default: on rows as they are."""


class DataSpec(Strict):
    """Which data, and how it becomes numbers."""

    dataset: Annotated[str, Field(pattern=r"^ds_[0-9a-z]{26}$"), Says('an id of a data set: "ds_" and 26 characters')]
    """Id of the data set."""
    target: Annotated[str | Annotated[list[str], Field(min_length=1)], Says("the name of a column, or a list of names")]
    """Column to predict, or several for regression."""
    features: Annotated[list[str], Field(min_length=1)] | None = None
    """Columns to predict from; default: all but the target and those that divide or weigh the rows."""
    split: Split = Split()
    """How rows are divided."""
    sample_weight: str | None = None
    """Column of numbers from 0 up that say how much each row counts in the loss; only their ratios matter."""
    preprocessing: list[AnyPreprocessing] = []
    """Steps applied to the features, in order; a single step may stand without the list."""
    augmentation: Annotated[list[AnyAugmentation], Field(max_length=50)] = []
    """Random changes of the training rows behind the preprocessing, in order; a single one may stand alone."""
    target_preprocessing: Literal["standardize", "min_max"] | None = None
    """Scaling of a regression target; predictions come back in the target's own units."""
    image_layout: Literal["auto", "channels_last", "channels_first", "none"] = "auto"
    """Where tensors hold their channels. "auto": [rows, h, w] and [rows, h, w, 1|3|4] are images, other shapes stay.
    "none": every tensor stays as it is, so that [rows, length, features] is a sequence."""

    @field_validator("preprocessing", "augmentation", mode="before")
    @classmethod
    def _one_step_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str | dict) else value

    @property
    def targets(self) -> list[str]:
        """The target columns, as a list."""
        return [self.target] if isinstance(self.target, str) else list(self.target)

    @property
    def set_aside(self) -> list[str]:
        """The columns that say something of a row's use: its part, its group, its weight."""
        named = (self.split.column, self.split.group, self.sample_weight)
        return [name for name in dict.fromkeys(named) if name is not None]


class TrainingSpec(Strict):
    """How long, how many rows at once, from which seed, where."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """Passes over the training rows."""
    batch_size: Annotated[
        Annotated[int, Field(ge=1, le=1_000_000)] | Literal["all"], Says('a whole number from 1 to 1,000,000, or "all"')
    ] = 32
    """Rows in one batch; 1: stochastic gradient descent; "all": batch gradient descent on all training rows."""
    accumulate: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Batches whose gradients are put together for one step: memory of one batch, gradient of many."""
    averaging: AnyAveraging | None = None
    """Average of the weights along the way, which is then validated and kept; default: the weights themselves."""
    keep: Literal["best", "last"] = "best"
    """Which weights become the model where there are validation rows: those of the best epoch, or of the last one, so
    that nothing was chosen by the rows that the calibration is fitted on."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Everything random follows from it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Slots that take the job: on a CPU, on a GPU, or with "auto" whichever is free first."""
    devices: Annotated[int, Field(ge=1, le=MOST_DEVICES)] = 1
    """GPUs of one machine that share every batch, or processes on a CPU; results are those of one, to rounding."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Numbers that forward and backward pass compute with; weights and predictions are float32 in any case. "auto":
    bfloat16 for large steps on a GPU, float32 for all else."""
    tf32: bool = False
    """Whether a GPU may round float32 numbers to 10 bits behind the point in matrix products and convolutions."""
    compile: bool = False
    """Whether to have forward pass and loss compiled (`torch.compile`); without a C++ compiler they are not."""
    profile: bool = False
    """Whether to record where the time of some steps goes; not part of the hash."""
    log_every_steps: Annotated[int, Field(ge=1)] | None = None
    """Also store `batch_loss` and `learning_rate` every so many steps."""
    checkpoint_seconds: Annotated[float, Field(ge=0, le=1e9)] | None = None
    """Seconds between checkpoints; default: the server's setting; 0: at every epoch's end."""
    checkpoint_steps: Annotated[int, Field(ge=1)] | None = None
    """Also store a checkpoint after every so many steps."""
    keep_every_epochs: Annotated[int, Field(ge=1)] | None = None
    """Store a checkpoint at the end of every so many epochs and keep it; others go when a later one is there."""
    max_seconds: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Longest time that one attempt may train; one that needs longer stores a checkpoint and fails."""
    max_step_seconds: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Longest time that one step may take; a longer one fails the job."""

    @field_validator("devices")
    @classmethod
    def _a_row_for_every_device(cls, devices: int, info: ValidationInfo) -> int:
        size = info.data.get("batch_size")
        if isinstance(size, int) and size < devices:
            raise ValueError(f"must not be more than the rows of a batch: batch_size is {size}")
        return devices

    @property
    def placement(self) -> str:
        """What a slot must offer, in a word: "auto", or "4xcuda"."""
        return asked(self.device, self.devices)

    def rows_of_batch(self, rows: int) -> int:
        """Return the rows of one batch when there are `rows` to train on."""
        return rows if self.batch_size == "all" else self.batch_size


class JobSpec(Strict):
    """A training job: the network, how it learns, from what and for how long."""

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    """Name for people; not part of the hash."""
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """Jobs with a higher priority are trained first; not part of the hash."""
    network: NetworkSpec
    """The network."""
    loss: AnyLoss
    """What training makes small."""
    optimizer: AnyOptimizer = Field(default="adam")  # type: ignore[assignment]  # read as a request is
    """The rule that moves the weights."""
    schedule: AnySchedule = Field(default="constant")  # type: ignore[assignment]  # as above
    """How the learning rate changes."""
    pretrain: AnyPretraining | None = None
    """What happens to the hidden layers before training, without labels; default: nothing."""
    regularization: RegularizationSpec = RegularizationSpec()
    """What keeps the network from overfitting."""
    data: DataSpec
    """Which data."""
    training: TrainingSpec = TrainingSpec()
    """How long and where."""
    replicas: Annotated[int, Field(ge=1, le=MOST_REPLICAS)] = 1
    """Networks to train together, from the seed of the training and the next ones: their model is a deep ensemble."""
    metrics: list[AnyMetric] = Field(default=None)  # type: ignore[arg-type]  # filled in below
    """What to measure besides the loss; default: what suits the loss."""

    @field_validator("metrics", mode="before")
    @classmethod
    def _measure_what_suits_the_loss(cls, value: object, info: ValidationInfo) -> object:
        loss = info.data.get("loss")
        return (DEFAULT_METRICS[loss.task] if loss else []) if value is None else value

    @model_validator(mode="after")
    def _several_targets_are_labels(self) -> "JobSpec":
        loss = self.loss
        if isinstance(loss, BinaryCrossEntropy) and loss.multi_label is None:
            several = isinstance(self.data.target, list)
            self.__dict__["loss"] = loss.model_copy(update={"multi_label": several})
            if several and "metrics" not in self.model_fields_set:
                self.__dict__["metrics"] = _METRICS.validate_python(DEFAULT_METRICS["multi_label"])
        return self

    def canonical(self) -> dict[str, Any]:
        """Return the spec with every default filled in, as JSON values."""
        value = self.model_dump(mode="json")
        split = value["data"]["split"]
        split["seed"] = value["training"]["seed"] if split["seed"] is None else split["seed"]
        if value["replicas"] == 1:
            del value["replicas"]  # what it was before there were replicas, and by the same hash
        return value

    @property
    def starts_from(self) -> set[str]:
        """The hashes of the weights that the job starts from."""
        blocks = [layer for layer in self.network.layers if isinstance(layer, Pretrained)]
        return {block.weights_sha256 for block in blocks if block.weights_sha256 is not None}

    def sha256(self) -> str:
        """Return the hash of what decides the result: everything but name, priority, profile and the ids of data and
        weights.

        The data's own hash and this one name the run, wherever and under whatever id the data is stored. Weights to
        start from are here by their own hash.
        """
        value = self.canonical()
        del value["name"], value["priority"], value["data"]["dataset"], value["training"]["profile"]
        for name, default in CAME_LATER.items():
            if value["training"][name] == default:
                del value["training"][name]
        for layer in value["network"]["layers"]:
            if layer["type"] == "pretrained":
                del layer["source"]
        return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
