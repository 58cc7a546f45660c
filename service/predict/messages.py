"""What a client sends to predict, and what comes back."""

from typing import Annotated, Any, NotRequired

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from service.blocks.base import Strict

DEFAULT_SAMPLES = 50
MOST_SAMPLES = 1_000_000
MOST_QUANTILES = 100
ROW = "an object of columns and values, or an array of values in the order of the columns"

DOCUMENTED = ConfigDict(use_attribute_docstrings=True)

Probability = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(ge=0)]
Values = float | list[float]
"""A number, or a list of one number a target column where there are several."""


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


class PredictRequest(Strict):
    """Rows to predict, and how to ask the network how sure it is."""

    rows: Annotated[list[Row], Field(min_length=1, examples=[[{"alcohol": 13.2, "hue": 1.05}, [12.4, 0.98]]])]
    """Raw rows, as they were in the data set: the model carries its preprocessing. How many: the server's setting."""
    mc_samples: Annotated[int, Field(ge=0, le=MOST_SAMPLES, examples=[50])] = DEFAULT_SAMPLES
    """Thinned networks that every row is run through; 0: the whole network once, without any spread."""
    seed: Annotated[int, Field(ge=0, lt=2**63, examples=[1])] = 0
    """Which thinned networks: the same seed gives the same answer, and sample t is the same however many there are."""
    return_samples: Annotated[bool, Field(examples=[False])] = False
    """Whether every sample is part of the answer."""
    quantiles: Annotated[list[Level], Field(max_length=MOST_QUANTILES, examples=[[0.05, 0.5, 0.95]])] = [0.05, 0.95]
    """Which quantiles of the samples a regression answers, each from 0 to 1."""


@with_config(DOCUMENTED)
class ClassPrediction(TypedDict):
    """What the network says of one row of a classification."""

    label: Annotated[bool | int | float | str, Field(examples=["class_1"])]
    """The likeliest class, in its own JSON type; of equally likely ones the first."""
    probabilities: Annotated[dict[str, Probability], Field(examples=[{"class_0": 0.1, "class_1": 0.9}])]
    """Mean probability of every class over the samples; a class that is not text stands as its JSON text."""
    probabilities_std: Annotated[dict[str, Spread], Field(examples=[{"class_0": 0.04, "class_1": 0.04}])]
    """Standard deviation of these probabilities over the samples."""
    predictive_entropy: Annotated[Spread, Field(examples=[0.325])]
    """All the doubt, in nats: the entropy of the mean probabilities."""
    expected_entropy: Annotated[Spread, Field(examples=[0.316])]
    """Doubt from the data, in nats: the mean entropy of the samples."""
    mutual_information: Annotated[Spread, Field(examples=[0.009])]
    """Doubt from knowing too little, in nats: predictive less expected entropy; large for rows unlike any seen."""
    samples: NotRequired[Annotated[list[list[Probability]], Field(examples=[[[0.08, 0.92], [0.12, 0.88]]])]]
    """When asked for: the probabilities of each sample, [mc_samples][classes], classes in the model's order."""


@with_config(DOCUMENTED)
class LabelPrediction(TypedDict):
    """What the network says of one row with several labels, each of which holds or does not."""

    labels: Annotated[list[str], Field(examples=[["red", "round"]])]
    """The labels whose probability is at least one half."""
    probabilities: Annotated[dict[str, Probability], Field(examples=[{"red": 0.8, "round": 0.7}])]
    """Mean probability of every label over the samples."""
    probabilities_std: Annotated[dict[str, Spread], Field(examples=[{"red": 0.05, "round": 0.1}])]
    """Standard deviation of these probabilities over the samples."""
    predictive_entropy: Annotated[Spread, Field(examples=[1.11])]
    """All the doubt, in nats: the entropies of the labels' mean probabilities, added up."""
    expected_entropy: Annotated[Spread, Field(examples=[1.08])]
    """Doubt from the data, in nats: the mean of the samples' entropies, added up over the labels."""
    mutual_information: Annotated[Spread, Field(examples=[0.03])]
    """Doubt from knowing too little, in nats: predictive less expected entropy."""
    samples: NotRequired[Annotated[list[list[Probability]], Field(examples=[[[0.82, 0.71]]])]]
    """When asked for: the probabilities of each sample, [mc_samples][labels]."""


@with_config(DOCUMENTED)
class ValuePrediction(TypedDict):
    """What the network says of one row of a regression, in the target's own units.

    With several targets every number is a list of numbers, in the order of the specification.
    """

    mean: Annotated[Values, Field(examples=[152.3])]
    """Mean over the samples."""
    std: Annotated[Spread | list[Spread], Field(examples=[11.8])]
    """Standard deviation in all: the square root of epistemic and aleatoric variance together."""
    epistemic_std: Annotated[Spread | list[Spread], Field(examples=[11.8])]
    """Standard deviation over the samples: what more data would lessen."""
    aleatoric_std: Annotated[Spread | list[Spread] | None, Field(examples=[None])]
    """Standard deviation of the target's own noise; null where the network does not model it."""
    quantiles: Annotated[dict[str, Values], Field(examples=[{"0.05": 133.0, "0.95": 171.5}])]
    """Quantiles by level: of the samples, or, where the network models the noise, of all that may be measured."""
    predicted_quantiles: NotRequired[Annotated[dict[str, Values], Field(examples=[{"0.05": 120.0, "0.95": 180.0}])]]
    """With the loss `quantile`: the quantiles that the network predicts, by level, means over the samples."""
    samples: NotRequired[Annotated[list[Values], Field(examples=[[149.1, 155.0]])]]
    """When asked for: the value of each sample, [mc_samples] or [mc_samples][targets]."""


class PredictAnswer(BaseModel):
    """One prediction a row, in the order of the rows, and what they rest on."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    predictions: list[ClassPrediction] | list[LabelPrediction] | list[ValuePrediction]
    """One entry a row: of a class, of labels, or of numbers."""
    mc_samples: Annotated[int, Field(ge=0, examples=[50])]
    """Samples behind every prediction; 0 where the network has no stochastic layer, whatever was asked for."""
    seed: Annotated[int, Field(ge=0, examples=[1])]
    """Seed of the samples."""
    stochastic_layers: Annotated[list[str], Field(examples=[["dropout_1"]])]
    """Names of the layers that draw masks when there are samples."""
    note: Annotated[str | None, Field(examples=[None])] = None
    """What to know before trusting the spread; null: nothing."""

    def encode(self) -> bytes:
        """Return the answer as JSON; many times faster than through the model's serializer."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return orjson.dumps(fields)
