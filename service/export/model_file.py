"""Everything that a stored model is besides its weights, as the JSON that a file carries."""

from importlib.metadata import version
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from service.blocks.base import Strict
from service.blocks.losses import Task
from service.blocks.preprocessing import AnyPreprocessing
from service.data.profile import ColumnProfile, Value
from service.store.tables import Model

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Positive = Annotated[float, Field(gt=0)]
Size = Annotated[int, Field(ge=1)]
Json = dict[str, Any]


class Step(Strict):
    """A step of preprocessing, and what it learned."""

    step: AnyPreprocessing
    state: Json


class FeaturesFile(Strict):
    """How raw rows become what the network takes; see `Features`."""

    columns: Annotated[list[Json], Field(min_length=1)]
    layout: str
    steps: list[Step]
    input_shape: Annotated[list[Size], Field(max_length=8)]
    vocabulary: Size | None = None


class TargetFile(Strict):
    """How outputs become answers; see `TargetCodec`."""

    names: Annotated[list[str], Field(min_length=1)]
    task: Task
    classes: list[Value] | None
    shift: Annotated[list[float], Field(min_length=1)]
    scale: Annotated[list[Positive], Field(min_length=1)]


class PreprocessingFile(Strict):
    """What is between raw rows, network and answers."""

    features: FeaturesFile
    target: TargetFile
    input_shape: Annotated[list[Size], Field(max_length=8)]
    outputs: Size


class ScoresFile(Strict):
    """Scores of validation rows; see `Scores`."""

    rows: Annotated[int, Field(ge=0)]
    scores: list[float]


class CalibrationFile(Strict):
    """What validation rows taught; see `Calibration`."""

    rows: Size
    mc_samples: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0)]
    temperature: list[Positive] | None
    noise_precision: list[Positive] | None
    noise_factor: list[Positive] | None
    level: float
    before: Json
    after: Json
    conformal: list[ScoresFile]
    doubts: dict[str, ScoresFile]


class ReceiptFile(Strict):
    """What a model came from, as far as anything is done with it; other fields are kept as they are."""

    model_config = {"extra": "allow"}

    spec_sha256: Sha256 | None = None
    data_sha256: Sha256 | None = None
    versions: dict[str, str] = {}
    rows: dict[str, int] = {}
    deterministic: bool | None = None


class ModelFile(Strict):
    """A model without its weights."""

    format: Literal[1] = 1
    """Version of this form."""
    model: Annotated[str, Field(max_length=32)]
    """Id of the model where it was exported."""
    job: Annotated[str, Field(max_length=32)] | None
    """Id of the job that trained it there."""
    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] | None
    spec: Json
    members: Size | None = None
    """Networks of an ensemble, whose weights are stacked; null: the model is one network."""
    columns: Annotated[list[Json], Field(min_length=1)]
    preprocessing: PreprocessingFile
    metrics: dict[str, Json]
    calibration: CalibrationFile | None
    receipt: ReceiptFile
    weights_sha256: Sha256
    created_at: float
    versions: dict[str, str]

    @classmethod
    def of(cls, row: Model) -> "ModelFile":
        """Return what a stored model is; what was written by this service is not looked at again."""
        names = (
            "job",
            "name",
            "spec",
            "members",
            "columns",
            "preprocessing",
            "metrics",
            "calibration",
            "receipt",
            "weights_sha256",
        )
        return cls.model_construct(
            model=row.id,
            created_at=row.created_at,
            versions={"trainyard": version("trainyard")},
            **{name: getattr(row, name) for name in names},
        )

    def encode(self) -> bytes:
        """Return the JSON of a file from `of`."""
        return orjson.dumps({name: getattr(self, name) for name in type(self).model_fields})

    def profiles(self) -> list[ColumnProfile]:
        """Return the columns of features and target.

        Raises:
            pydantic.ValidationError: One is none.
        """
        return [ColumnProfile.model_validate(column) for column in self.columns]
