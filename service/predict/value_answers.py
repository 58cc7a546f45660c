"""From samples of numbers to what a client reads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from service.predict.answers import refuse_infinite
from service.predict.messages import ValuePrediction
from service.uncertainty.predicted import PredictedQuantiles
from service.uncertainty.samples import ValueSamples, ValueUncertainty
from service.uncertainty.value_noise import ValueNoise


@dataclass(frozen=True)
class ValueAnswers:
    """Predictions of a regression; with one target column numbers, with several lists of them."""

    noise: ValueNoise
    """Of the target, and with it the loss and the target's units."""
    quantiles: Sequence[float]
    keep: bool
    """Whether every sample is answered."""
    intervals: Sequence[float] = ()
    """Probabilities of the central intervals that are answered."""
    threshold: Tensor | None = None
    """Half the width of conformal intervals in standard deviations, [C]; None: none are answered."""

    holds_samples = True

    @property
    def values(self) -> int:
        """Numbers that one sample of one row gives the client."""
        return self.noise.target.columns

    def means(self, outputs: Tensor) -> Tensor:
        """Return the value of each sample in the target's own units."""
        return self._decode(self.noise.loss.link(outputs).double().cpu())

    def gather(self, outputs: Iterable[Tensor]) -> ValueUncertainty:
        """Return what samples of outputs say together, the ends of intervals behind the quantiles."""
        ends = [end for level in self.intervals for end in ((1 - level) / 2, (1 + level) / 2)]
        samples = ValueSamples(self.noise.loss.link, self._decode, [*self.quantiles, *ends], self.noise)
        for part in outputs:
            samples.add(part)
        return samples.result()

    def of(self, outputs: Iterable[Tensor], rows: Sequence[int]) -> list[Any]:
        """Return the predictions from samples of outputs; see `Answers.of`."""
        predicted = PredictedQuantiles.of(self.noise.loss)
        found = self.gather(predicted.passing(outputs) if predicted else outputs)
        refuse_infinite(torch.cat([found.mean, found.std], dim=-1), rows)
        predictions = self._written(found)
        if self.intervals:
            self._add_intervals(predictions, found)
        if self.threshold is not None:
            wide = self.threshold * found.std
            ends = torch.stack([found.mean - wide, found.mean + wide], dim=1)
            for prediction, interval in zip(predictions, self._listed(ends), strict=True):
                prediction["interval"] = interval
        if predicted:
            for prediction, levels in zip(predictions, self._listed(predicted.result(self._decode)), strict=True):
                prediction["predicted_quantiles"] = dict(zip(predicted.keys, levels, strict=True))
        if self.keep:
            for prediction, values in zip(predictions, found.samples, strict=True):
                prediction["samples"] = self._listed(values)
        return predictions

    def _written(self, found: ValueUncertainty) -> list[Any]:
        keys = [str(level) for level in self.quantiles]
        aleatoric = found.aleatoric_std
        return [
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
                self._listed(found.quantiles[: len(keys)].movedim(0, 1)),
                strict=True,
            )
        ]

    def _add_intervals(self, predictions: list[Any], found: ValueUncertainty) -> None:
        keys = [str(level) for level in self.intervals]
        ends = self._listed(found.quantiles[len(self.quantiles) :].movedim(0, 1))
        for prediction, levels in zip(predictions, ends, strict=True):
            pairs = zip(levels[::2], levels[1::2], strict=True)
            prediction["intervals"] = {key: list(pair) for key, pair in zip(keys, pairs, strict=True)}

    def _decode(self, values: Tensor) -> Tensor:
        return torch.from_numpy(self.noise.target.decode(values.numpy()))

    def _listed(self, values: Tensor) -> list[Any]:
        """Return [..., columns] as lists, without the last axis where there is only one column."""
        numbers: list[Any] = (values.squeeze(-1) if self.values == 1 else values).tolist()
        return numbers
