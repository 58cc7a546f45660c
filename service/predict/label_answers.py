"""From samples of several labels to what a client reads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from service.blocks.class_metrics import THRESHOLD
from service.blocks.losses import Loss
from service.predict.answers import refuse_infinite
from service.predict.messages import LabelPrediction
from service.uncertainty.samples import ClassSamples, label_entropy


@dataclass(frozen=True)
class LabelAnswers:
    """Predictions of labels that may hold together."""

    loss: Loss
    labels: Sequence[str]
    keep: bool
    """Whether every sample is answered."""

    @property
    def values(self) -> int:
        """Numbers that one sample of one row gives the client."""
        return len(self.labels)

    def most_rows(self, samples: int, tile_bytes: int) -> int | None:
        """Return None: only sums are held, or what the answer holds anyway."""
        return None

    def of(self, outputs: Iterable[Tensor], first: int) -> list[LabelPrediction]:
        """Return the predictions from samples of outputs; see `Answers.of`."""
        samples = ClassSamples(self.loss.link, self.keep, label_entropy)
        for part in outputs:
            samples.add(part)
        found = samples.result()
        refuse_infinite(found.probabilities, first)
        doubt = (found.predictive_entropy, found.expected_entropy, found.mutual_information)
        predictions = [
            LabelPrediction(
                labels=[label for label, p in zip(self.labels, mean, strict=True) if p >= THRESHOLD],
                probabilities=dict(zip(self.labels, mean, strict=True)),
                probabilities_std=dict(zip(self.labels, std, strict=True)),
                predictive_entropy=predictive,
                expected_entropy=expected,
                mutual_information=mutual,
            )
            for mean, std, predictive, expected, mutual in zip(
                found.probabilities.tolist(),
                found.probabilities_std.tolist(),
                *(part.tolist() for part in doubt),
                strict=True,
            )
        ]
        if found.samples is not None:
            for prediction, values in zip(predictions, found.samples, strict=True):
                prediction["samples"] = values.tolist()
        return predictions
