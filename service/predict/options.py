"""What a client may ask of a prediction: rows, samples, calibration, and when to abstain."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from service.blocks.base import Strict

DEFAULT_SAMPLES = 50
MOST_SAMPLES = 1_000_000
MOST_QUANTILES = 100
ROW = "an object of columns and values, or an array of values in the order of the columns"


def _check_row(value: object) -> object:
    if isinstance(value, dict | list):
        return value
    raise PydanticCustomError("row", "must be " + ROW, {"allowed": ROW})


# One check in Python for both forms: a union would report every bad row once for each form.
Row = Annotated[
    Any,
    BeforeValidator(_check_row),
    WithJsonSchema(
        {
            "description": ROW[0].upper() + ROW[1:] + ". A tensor column takes nested arrays; null is a missing value.",
            "anyOf": [{"type": "object", "minProperties": 1}, {"type": "array", "minItems": 1}],
        }
    ),
]


def _check_level(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return value
    raise PydanticCustomError("level", "must be a number from 0 to 1", {"allowed": [0, 1]})


# A whole level stays whole, so that the answer's key is what was sent: 1, or 1.0.
Level = Annotated[Any, BeforeValidator(_check_level), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]


def _check_precision(value: object) -> object:
    numbers = value if isinstance(value, list) else [value]
    if numbers and all(isinstance(n, int | float) and not isinstance(n, bool) and n > 0 for n in numbers):
        return value
    raise PydanticCustomError("precision", "must be a number above 0, or a list of them", {"allowed": {"gt": 0}})


Precision = Annotated[
    Any,
    BeforeValidator(_check_precision),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "array", "minItems": 1, "items": {"type": "number", "exclusiveMinimum": 0}},
            ]
        }
    ),
]
Share = Annotated[float, Field(gt=0, lt=1)]
Doubt = Literal[
    "predictive_entropy", "expected_entropy", "mutual_information", "variation_ratio",
    "std", "epistemic_std", "aleatoric_std",
]  # fmt: skip
"""Names of what answers say of how sure the model is: the first four of classes and labels, the others of numbers."""


class Sampling(Strict):
    """How to ask a network how sure it is."""

    # Defaults are sound, and to look at them anew took most of the time of reading a request.
    model_config = ConfigDict(validate_default=False)

    mc_samples: Annotated[int, Field(ge=0, le=MOST_SAMPLES, examples=[50])] = DEFAULT_SAMPLES
    """Thinned networks that every row is run through, of an ensemble for each member; 0: the whole network, without
    a spread but that of the members."""
    seed: Annotated[int, Field(ge=0, lt=2**63, examples=[1])] = 0
    """Which thinned networks: the same seed gives the same answer, and sample t is the same however many there are."""
    calibrated: Annotated[bool | None, Field(examples=[True])] = None
    """Whether what was fitted on validation rows is applied; default: if there is such and `mc_samples` is not 0."""
    noise_precision: Annotated[Precision | None, Field(examples=[0.0004])] = None
    """One over the variance of a regression's noise, in the target's own units, or one a target; default: as fitted."""
    coverage: Annotated[Share | None, Field(examples=[0.9])] = None
    """Answer the conformal `set` of classes, or `interval`, that holds the truth with this probability."""


class Adaptive(Strict):
    """When a row has samples enough."""

    tolerance: Annotated[float, Field(gt=0, examples=[0.01])]
    """Largest Monte-Carlo standard error of the mean: of every probability, or of the value in its own units."""
    min_samples: Annotated[int, Field(ge=2, le=MOST_SAMPLES, examples=[20])] = 20
    """Samples before the first look at the error."""


class Abstain(Strict):
    """Which rows are to be marked as too doubtful to be answered."""

    above: Annotated[
        Annotated[dict[Doubt, float], Field(min_length=1)] | None, Field(examples=[{"predictive_entropy": 0.5}])
    ] = None
    """Largest accepted doubt, by any of its names; of several targets the largest counts."""
    coverage: Annotated[Share | None, Field(examples=[None])] = None
    """Accept what this share of the validation rows, the surest of them, would be accepted for."""
    by: Annotated[Doubt | None, Field(examples=[None])] = None
    """Which doubt `coverage` goes by; default: predictive_entropy, for numbers std."""

    @model_validator(mode="after")
    def _choose_one_way(self) -> "Abstain":
        if (self.above is None) == (self.coverage is None):
            raise ValueError("needs either above or coverage")
        if self.by is not None and self.coverage is None:
            raise ValueError("by goes with coverage")
        return self
