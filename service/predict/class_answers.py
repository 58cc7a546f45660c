"""From samples of classes, or of several labels, to what a client reads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from service.blocks.class_metrics import THRESHOLD
from service.blocks.losses import Loss
from service.data.profile import Value, key_of
from service.predict.answers import refuse_infinite
from service.predict.messages import ClassPrediction, LabelPrediction
from service.uncertainty.samples import CLASS_DOUBTS, ClassSamples, ClassUncertainty, LabelSamples
from service.uncertainty.sets import sets_below
from service.uncertainty.temperature import tempered


@dataclass(frozen=True)
class ClassAnswers:
    """Predictions of a classification."""

    loss: Loss
    classes: Sequence[Value]
    keep: bool
    """Whether every sample is answered."""
    temperature: Tensor | None = None
    """What logits are divided by, [1] or [labels]."""
    threshold: Tensor | None = None
    """Largest conformal score of a class that is in the set, [1] or [labels]; None: no sets are answered."""

    holds_samples = False

    @property
    def values(self) -> int:
        """Numbers that one sample of one row gives the client."""
        return len(self.classes)

    def means(self, outputs: Tensor) -> Tensor:
        """Return the probabilities of each sample."""
        return tempered(self.loss, self.temperature)(outputs.double()).cpu()

    def gather(self, outputs: Iterable[Tensor]) -> ClassUncertainty:
        """Return what samples of outputs say together."""
        samples = self._samples()
        for part in outputs:
            samples.add(part)
        return samples.result()

    def _samples(self) -> ClassSamples:
        return ClassSamples(tempered(self.loss, self.temperature), self.keep)

    def of(self, outputs: Iterable[Tensor], rows: Sequence[int]) -> list[Any]:
        """Return the predictions from samples of outputs; see `Answers.of`."""
        found = self.gather(outputs)
        refuse_infinite(found.probabilities, rows)
        predictions = self._written(found)
        if self.threshold is not None:
            for prediction, names in zip(predictions, self._sets(found, self.threshold), strict=True):
                prediction["set"] = names
        if found.samples is not None:
            for prediction, values in zip(predictions, found.samples, strict=True):
                prediction["samples"] = values.tolist()
        return predictions

    def _written(self, found: ClassUncertainty) -> list[Any]:
        keys = [key_of(value) for value in self.classes]
        # NumPy's argmax is the first of equals, torch's any of them.
        labels = found.probabilities.numpy().argmax(-1).tolist()
        return [
            ClassPrediction(
                label=self.classes[label],
                probabilities=dict(zip(keys, mean, strict=True)),
                probabilities_std=dict(zip(keys, std, strict=True)),
                predictive_entropy=predictive,
                expected_entropy=expected,
                mutual_information=mutual,
                variation_ratio=variation,
            )
            for label, mean, std, predictive, expected, mutual, variation in zip(labels, *_listed(found), strict=True)
        ]

    def _sets(self, found: ClassUncertainty, threshold: Tensor) -> list[list[Value]]:
        """Return the classes of each set, the likeliest first."""
        order = found.probabilities.sort(dim=1, descending=True, stable=True).indices
        inside = sets_below(found.probabilities, threshold).gather(1, order)
        return [
            [self.classes[place] for place, held in zip(places, holds, strict=True) if held]
            for places, holds in zip(order.tolist(), inside.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class LabelAnswers(ClassAnswers):
    """Predictions of labels that may hold together."""

    def _samples(self) -> ClassSamples:
        return LabelSamples(tempered(self.loss, self.temperature), self.keep)

    def _written(self, found: ClassUncertainty) -> list[Any]:
        keys = [key_of(value) for value in self.classes]
        return [
            LabelPrediction(
                labels=[label for label, p in zip(keys, mean, strict=True) if p >= THRESHOLD],
                probabilities=dict(zip(keys, mean, strict=True)),
                probabilities_std=dict(zip(keys, std, strict=True)),
                predictive_entropy=predictive,
                expected_entropy=expected,
                mutual_information=mutual,
                variation_ratio=variation,
            )
            for mean, std, predictive, expected, mutual, variation in zip(*_listed(found), strict=True)
        ]


def _listed(found: ClassUncertainty) -> list[list[Any]]:
    """Return means, deviations and doubts of all rows as lists."""
    doubts = (getattr(found, name) for name in CLASS_DOUBTS)
    return [part.tolist() for part in (found.probabilities, found.probabilities_std, *doubts)]
