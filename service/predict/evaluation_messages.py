"""What a client asks of a model on rows whose truth is known, and what comes back."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.blocks.base import Strict
from service.blocks.metrics import AnyMetric
from service.predict.options import MOST_SAMPLES, Doubt, Row, Sampling

DATASET = "ds_01k5c1y6nq3v8r2m7x4t9w0zha"
DatasetId = Annotated[str, Field(pattern=r"^ds_[0-9a-z]{26}$", examples=[DATASET])]
Figure = float | None
"""A number; null where it is not defined."""


class EvaluateRequest(Sampling):
    """Rows with their truth, and how to ask the network how sure it is."""

    dataset: DatasetId | None = None
    """Id of a data set with the columns that the model reads and predicts."""
    rows: Annotated[list[Row], Field(min_length=1)] | None = Field(None, examples=[None])
    """Rows instead of a data set: objects with the target among their columns, or arrays with it behind the others."""
    by: Annotated[Doubt | None, Field(examples=["predictive_entropy"])] = None
    """Which doubt the risk-coverage curve rejects by; default: predictive_entropy, for numbers std."""

    @model_validator(mode="after")
    def _choose_one_source(self) -> "EvaluateRequest":
        if (self.dataset is None) == (self.rows is None):
            raise ValueError("needs either dataset or rows")
        return self


class ReliabilityPoint(BaseModel):
    """What was promised, and what came true."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    confidence: Annotated[float, Field(examples=[0.95])]
    """Mean probability of the likeliest class in a bin; of numbers, the probability that a central interval holds."""
    observed: Annotated[float, Field(examples=[0.91])]
    """Share of rows for which that class was right; of numbers, of the values inside of the interval."""
    rows: Annotated[float, Field(examples=[120])]
    """How many there were."""


class RiskPoint(BaseModel):
    """What comes of rejecting the rows that the model is least sure of."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    coverage: Annotated[float, Field(examples=[0.8])]
    """Share of rows that stay."""
    risk: Annotated[float, Field(examples=[0.01])]
    """Their mean risk: share of wrong labels, or mean squared error."""
    limit: Annotated[float, Field(examples=[0.4])]
    """Largest doubt among them: what `abstain.above` would be set to."""


class RiskCurve(BaseModel):
    """How wrong the model is when it may abstain."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    by: Annotated[str, Field(examples=["predictive_entropy"])]
    """The doubt that rows are rejected by."""
    area: Annotated[float, Field(examples=[0.006])]
    """Mean risk over all shares of rows; the nearer to 0 beside the risk of all rows, the better the doubt tells."""
    points: list[RiskPoint]
    """The curve at each twentieth of the rows."""


class EvaluateAnswer(BaseModel):
    """How good a model is on rows that it is told the truth of."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    dataset: Annotated[str | None, Field(examples=[DATASET])]
    """The data set; null for rows of the request."""
    rows: Annotated[int, Field(ge=1, examples=[178])]
    """Rows that were looked at."""
    mc_samples: Annotated[int, Field(ge=0, examples=[50])]
    """Samples behind every prediction; 0 where the network has no stochastic layer."""
    seed: Annotated[int, Field(ge=0, examples=[1])]
    """Seed of the samples."""
    calibrated: Annotated[bool, Field(examples=[True])]
    """Whether what was fitted on validation rows is applied."""
    level: Annotated[float, Field(examples=[0.9])]
    """Probability that sets and intervals were to hold: `coverage` of the request, else 0.9."""
    metrics: dict[str, Any]
    """The metrics of the specification, and `nll`, `ece`, `brier` or for numbers `rmse`; `coverage` and `sharpness` of
    credible sets or intervals, and of conformal ones under `conformal`; null where not defined."""
    reliability: list[ReliabilityPoint]
    """The reliability curve."""
    risk_coverage: RiskCurve
    """What abstaining brings."""
    note: Annotated[str | None, Field(examples=[None])] = None
    """What to know before trusting the figures; null: nothing."""


class ImportanceRequest(Strict):
    """A data set, and how its columns are to be shuffled."""

    dataset: DatasetId
    """Id of a data set with the columns that the model reads and predicts."""
    repeats: Annotated[int, Field(ge=1, le=1_000, examples=[5])] = 5
    """How many times each column is shuffled."""
    seed: Annotated[int, Field(ge=0, lt=2**63, examples=[0])] = 0
    """Which orders, and which samples: the same seed gives the same answer."""
    metric: Annotated[AnyMetric | None, Field(examples=["accuracy"])] = None
    """What is looked at; default: the first metric of the specification that is one number."""
    mc_samples: Annotated[int, Field(ge=0, le=MOST_SAMPLES, examples=[0])] = 0
    """Samples behind every prediction; 0: the whole network once, which is enough for most."""


class ColumnImportance(BaseModel):
    """What shuffling one column does."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    column: Annotated[str, Field(examples=["alcohol"])]
    """The column."""
    mean: Annotated[Figure, Field(examples=[0.12])]
    """Mean drop of the metric over the repeats; above 0: it got worse."""
    std: Annotated[Figure, Field(examples=[0.02])]
    """Standard deviation of the drop."""


class ImportanceAnswer(BaseModel):
    """How much a model leans on each of its columns."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    dataset: Annotated[str, Field(examples=[DATASET])]
    """The data set."""
    rows: Annotated[int, Field(ge=1, examples=[178])]
    """Rows that were looked at."""
    metric: Annotated[str, Field(examples=["accuracy"])]
    """What was looked at."""
    baseline: Annotated[Figure, Field(examples=[0.98])]
    """Its value on the rows as they are."""
    mc_samples: Annotated[int, Field(ge=0, examples=[0])]
    """Samples behind every prediction."""
    repeats: Annotated[int, Field(ge=1, examples=[5])]
    """How many times each column was shuffled."""
    seed: Annotated[int, Field(ge=0, examples=[0])]
    """Seed of the orders and the samples."""
    columns: list[ColumnImportance]
    """The columns, in the order of the model."""
