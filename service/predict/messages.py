"""What a client sends to predict, and what comes back."""

from typing import Annotated, NotRequired

import orjson
from pydantic import BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.predict.options import MOST_QUANTILES, Abstain, Adaptive, Level, Row, Sampling

DOCUMENTED = ConfigDict(use_attribute_docstrings=True)

Probability = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(ge=0)]
Values = float | list[float]
"""A number, or a list of one number a target column where there are several."""


class PredictOptions(Sampling):
    """How to ask the network how sure it is, and what is to be answered, whatever the rows."""

    adaptive: Annotated[Adaptive | None, Field(examples=[None])] = None
    """Stop sampling a row early, at the latest after `mc_samples`; default: all rows get all samples."""
    return_samples: Annotated[bool, Field(examples=[False])] = False
    """Whether every sample is part of the answer."""
    quantiles: Annotated[list[Level], Field(max_length=MOST_QUANTILES, examples=[[0.05, 0.5, 0.95]])] = Field(
        default_factory=lambda: [0.05, 0.95], json_schema_extra={"default": [0.05, 0.95]}
    )
    """Which quantiles a regression answers, each from 0 to 1."""
    intervals: Annotated[list[Level], Field(max_length=MOST_QUANTILES, examples=[[0.5, 0.9]])] = Field(
        default_factory=list, json_schema_extra={"default": []}
    )
    """Which central credible intervals a regression answers, by the probability that they hold."""
    abstain: Annotated[Abstain | None, Field(examples=[None])] = None
    """Mark rows that the model is too unsure of; default: none are."""


class PredictRequest(PredictOptions):
    """Rows to predict, and how to ask the network how sure it is."""

    rows: Annotated[list[Row], Field(min_length=1, examples=[[{"alcohol": 13.2, "hue": 1.05}, [12.4, 0.98]]])]
    """Raw rows, as they were in the data set: the model carries its preprocessing. How many: the server's setting."""


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
    variation_ratio: Annotated[Probability, Field(examples=[0.0])]
    """Share of the samples whose likeliest class is not the one that most of them name."""
    set: NotRequired[Annotated[list[bool | int | float | str], Field(examples=[["class_1"]])]]
    """With `coverage`: the classes that cannot be ruled out, likeliest first; none where none is likely enough."""
    samples: NotRequired[Annotated[list[list[Probability]], Field(examples=[[[0.08, 0.92], [0.12, 0.88]]])]]
    """When asked for: the probabilities of each sample, [mc_samples][classes], classes in the model's order; of
    an ensemble [members * mc_samples], sample i of member i modulo members."""
    mc_samples: NotRequired[Annotated[int, Field(ge=0, examples=[40])]]
    """With `adaptive`: the samples of this row."""
    abstained: NotRequired[Annotated[bool, Field(examples=[False])]]
    """With `abstain`: whether the model is too unsure of this row to be trusted."""


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
    variation_ratio: Annotated[Probability, Field(examples=[0.02])]
    """Share of the samples that do not decide as most of them do, the mean over the labels."""
    set: NotRequired[Annotated[list[str], Field(examples=[["red", "round"]])]]
    """With `coverage`: labels that cannot be ruled out; one that holds is among them with the probability asked for."""
    samples: NotRequired[Annotated[list[list[Probability]], Field(examples=[[[0.82, 0.71]]])]]
    """When asked for: the probabilities of each sample, [mc_samples][labels]; of an ensemble as of classes."""
    mc_samples: NotRequired[Annotated[int, Field(ge=0, examples=[40])]]
    """With `adaptive`: the samples of this row."""
    abstained: NotRequired[Annotated[bool, Field(examples=[False])]]
    """With `abstain`: whether the model is too unsure of this row to be trusted."""


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
    """Standard deviation of the target's own noise: predicted, fitted or given; null where nothing is known of it."""
    quantiles: Annotated[dict[str, Values], Field(examples=[{"0.05": 133.0, "0.95": 171.5}])]
    """Quantiles by level: of all that may be measured where the noise is known, else of the samples."""
    intervals: NotRequired[Annotated[dict[str, list[Values]], Field(examples=[{"0.9": [133.0, 171.5]}])]]
    """When asked for: lower and upper end of the central interval that holds this much probability."""
    interval: NotRequired[Annotated[list[Values], Field(examples=[[120.3, 184.3]])]]
    """With `coverage`: lower and upper end of the conformal interval, mean plus and minus a multiple of `std`."""
    predicted_quantiles: NotRequired[Annotated[dict[str, Values], Field(examples=[{"0.05": 120.0, "0.95": 180.0}])]]
    """With the loss `quantile`: the quantiles that the network predicts, by level, means over the samples."""
    samples: NotRequired[Annotated[list[Values], Field(examples=[[149.1, 155.0]])]]
    """When asked for: the value of each sample, [mc_samples] or [mc_samples][targets]; of an ensemble as of classes."""
    mc_samples: NotRequired[Annotated[int, Field(ge=0, examples=[40])]]
    """With `adaptive`: the samples of this row."""
    abstained: NotRequired[Annotated[bool, Field(examples=[False])]]
    """With `abstain`: whether the model is too unsure of this row to be trusted."""


class PredictAnswer(BaseModel):
    """One prediction a row, in the order of the rows, and what they rest on."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    predictions: list[ClassPrediction] | list[LabelPrediction] | list[ValuePrediction]
    """One entry a row: of a class, of labels, or of numbers."""
    mc_samples: Annotated[int, Field(ge=0, examples=[50])]
    """Samples behind every prediction, with `adaptive` at most; 0 where the network has no stochastic layer."""
    seed: Annotated[int, Field(ge=0, examples=[1])]
    """Seed of the samples."""
    members: Annotated[int, Field(ge=1, examples=[1])] = 1
    """Trained networks behind every prediction, each with as many samples; more than 1 of a deep ensemble."""
    stochastic_layers: Annotated[list[str], Field(examples=[["dropout_1"]])]
    """Names of the layers that draw masks when there are samples."""
    calibrated: Annotated[bool, Field(examples=[True])] = False
    """Whether what was fitted on validation rows is applied: a temperature, or the noise of the target."""
    note: Annotated[str | None, Field(examples=[None])] = None
    """What to know before trusting the spread; null: nothing."""

    def encode(self) -> bytes:
        """Return the answer as JSON; many times faster than through the model's serializer."""
        return orjson.dumps(vars(self))
