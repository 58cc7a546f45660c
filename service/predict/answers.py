"""From the outputs of a network to what a client reads: one entry a row."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from service.blocks.losses import Loss
from service.data.pipeline import TargetCodec
from service.data.profile import Value, key_of
from service.errors import InvalidRows, Problem
from service.predict.messages import ClassPrediction, ValuePrediction
from service.uncertainty.predicted import PredictedQuantiles
from service.uncertainty.samples import ClassSamples, ValueSamples

SAMPLE_COPIES = 4
"""Regression samples are held as they come, decoded, sorted and as an answer."""


class Answers(Protocol):
    """How outputs of one task become predictions."""

    @property
    def values(self) -> int:
        """Numbers that one sample of one row gives the client."""

    def most_rows(self, samples: int, tile_bytes: int) -> int | None:
        """Return how many rows at once keep their samples within `tile_bytes`; None: any number."""

    def of(self, outputs: Iterable[Tensor], first: int) -> list[Any]:
        """Return the predictions from samples of outputs, [S, R, outputs] each; `first` is the first row's number.

        Raises:
            InvalidRows: An output is not finite.
        """


@dataclass(frozen=True)
class ClassAnswers:
    """Predictions of a classification."""

    loss: Loss
    classes: Sequence[Value]
    keep: bool
    """Whether every sample is answered."""

    @property
    def values(self) -> int:
        """Numbers that one sample of one row gives the client."""
        return len(self.classes)

    def most_rows(self, samples: int, tile_bytes: int) -> int | None:
        """Return None: only sums are held, or what the answer holds anyway."""
        return None

    def of(self, outputs: Iterable[Tensor], first: int) -> list[ClassPrediction]:
        """Return the predictions from samples of outputs; see `Answers.of`."""
        samples = ClassSamples(self.loss.link, self.keep)
        for part in outputs:
            samples.add(part)
        found = samples.result()
        refuse_infinite(found.probabilities, first)
        keys = [key_of(value) for value in self.classes]
        # NumPy's argmax is the first of equals, torch's any of them.
        labels = found.probabilities.numpy().argmax(-1).tolist()
        predictions = [
            ClassPrediction(
                label=self.classes[label],
                probabilities=dict(zip(keys, mean, strict=True)),
                probabilities_std=dict(zip(keys, std, strict=True)),
                predictive_entropy=predictive,
                expected_entropy=expected,
                mutual_information=mutual,
            )
            for label, mean, std, predictive, expected, mutual in zip(
                labels,
                found.probabilities.tolist(),
                found.probabilities_std.tolist(),
                found.predictive_entropy.tolist(),
                found.expected_entropy.tolist(),
                found.mutual_information.tolist(),
                strict=True,
            )
        ]
        if found.samples is not None:
            for prediction, values in zip(predictions, found.samples, strict=True):
                prediction["samples"] = values.tolist()
        return predictions


@dataclass(frozen=True)
class ValueAnswers:
    """Predictions of a regression; with one target column numbers, with several lists of them."""

    loss: Loss
    target: TargetCodec
    quantiles: Sequence[float]
    keep: bool
    """Whether every sample is answered."""

    @property
    def values(self) -> int:
        """Numbers that one sample of one row gives the client."""
        return self.target.columns

    def most_rows(self, samples: int, tile_bytes: int) -> int | None:
        """Return how many rows at once keep their samples within `tile_bytes`: quantiles need them all."""
        row_bytes = max(samples, 1) * self.values * torch.float64.itemsize * SAMPLE_COPIES
        return max(1, tile_bytes // row_bytes)

    def of(self, outputs: Iterable[Tensor], first: int) -> list[ValuePrediction]:
        """Return the predictions from samples of outputs; see `Answers.of`."""
        samples = ValueSamples(self.loss.link, self._decode, self.quantiles, self._variance)
        predicted = PredictedQuantiles.of(self.loss)
        for part in outputs:
            samples.add(part)
            if predicted:
                predicted.add(part)
        found = samples.result()
        refuse_infinite(torch.cat([found.mean, found.std], dim=-1), first)
        keys = [str(level) for level in self.quantiles]
        aleatoric = found.aleatoric_std
        predictions = [
            ValuePrediction(
                mean=mean,
                std=std,
                epistemic_std=epistemic,
                aleatoric_std=noise,
                quantiles=dict(zip(keys, levels, strict=True)),
            )
            for mean, std, epistemic, noise, levels in zip(
                self._listed(found.mean),
                self._listed(found.std),
                self._listed(found.epistemic_std),
                [None] * len(found.mean) if aleatoric is None else self._listed(aleatoric),
                self._listed(found.quantiles.movedim(0, 1)),
                strict=True,
            )
        ]
        if predicted:
            for prediction, levels in zip(predictions, self._listed(predicted.result(self._decode)), strict=True):
                prediction["predicted_quantiles"] = dict(zip(predicted.keys, levels, strict=True))
        if self.keep:
            for prediction, values in zip(predictions, found.samples, strict=True):
                prediction["samples"] = self._listed(values)
        return predictions

    def _variance(self, outputs: Tensor) -> Tensor | None:
        variance = self.loss.variance(outputs)
        return None if variance is None else variance * torch.from_numpy(self.target.scale).square()

    def _decode(self, values: Tensor) -> Tensor:
        return torch.from_numpy(self.target.decode(values.numpy()))

    def _listed(self, values: Tensor) -> list[Any]:
        """Return [..., columns] as lists, without the last axis where there is only one column."""
        numbers: list[Any] = (values.squeeze(-1) if self.values == 1 else values).tolist()
        return numbers


def refuse_infinite(values: Tensor, first: int) -> None:
    """Raise InvalidRows for rows, counted from `first`, of which a value is not finite."""
    finite = values.isfinite().all(-1)
    if bool(finite.all()):
        return
    message = "what the network makes of this row is not a finite number: its values are far from those it learned from"
    raise InvalidRows([Problem(f"rows[{first + row}]", message) for row in (~finite).nonzero()[:, 0].tolist()[:100]])
