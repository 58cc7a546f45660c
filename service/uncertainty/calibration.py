"""Calibration: what validation rows teach about the confidences of a model, and how it is kept with it.

Shape letters: T samples, R rows, K classes or labels, C target columns, O outputs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from service.blocks.losses import Loss
from service.data.target import TargetCodec
from service.uncertainty.quality import ClassQuality, ValueQuality
from service.uncertainty.samples import ClassSamples, ClassUncertainty, LabelSamples, ValueSamples, ValueUncertainty
from service.uncertainty.scores import MOST_KEPT, Scores
from service.uncertainty.sets import nonconformity
from service.uncertainty.temperature import fit_temperature, tempered
from service.uncertainty.value_noise import ValueNoise, fit_deviation, fit_factor

LEVEL = 0.9
"""Coverage at which calibrations are judged."""
FEWEST_KEPT, MOST_IN_ALL = 20, 20_000
DOUBTS_KEPT = 200


@dataclass(frozen=True)
class Calibration:
    """What was fitted on validation rows: a temperature or the noise, scores of these rows, and what came of it."""

    rows: int
    mc_samples: int
    seed: int
    temperature: tuple[float, ...] | None = None
    """What logits are divided by: one number, or one a label."""
    noise_precision: tuple[float, ...] | None = None
    """One over the variance of the target's noise, in its own units, by column."""
    noise_factor: tuple[float, ...] | None = None
    """On the standard deviation of the noise that the network predicts, by column."""
    conformal: tuple[Scores, ...] = ()
    """How badly the truth fits: of all classes together, by label or by column."""
    doubts: Mapping[str, Scores] = field(default_factory=dict)
    """How unsure the model is of the validation rows, by what it answers."""
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def temperatures(self) -> Tensor | None:
        """The temperature as a tensor, [1] or [labels]."""
        return _tensor(self.temperature)

    def noise(self, loss: Loss, target: TargetCodec) -> ValueNoise:
        """Return the noise of a regression's target."""
        return ValueNoise(loss, target, _tensor(self.noise_precision), _tensor(self.noise_factor))

    def threshold(self, coverage: float) -> Tensor:
        """Return the score that a row stays at or below with this probability, [1], [labels] or [C]."""
        return torch.tensor([scores.conformal(coverage) for scores in self.conformal], dtype=torch.float64)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "rows": self.rows,
            "mc_samples": self.mc_samples,
            "seed": self.seed,
            "temperature": self.temperature,
            "noise_precision": self.noise_precision,
            "noise_factor": self.noise_factor,
            "level": LEVEL,
            "before": dict(self.before),
            "after": dict(self.after),
            "conformal": [scores.to_json() for scores in self.conformal],
            "doubts": {name: scores.to_json() for name, scores in self.doubts.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the calibration that `to_json` wrote."""
        lists = ("temperature", "noise_precision", "noise_factor")
        return cls(
            rows=value["rows"],
            mc_samples=value["mc_samples"],
            seed=value["seed"],
            **{name: None if value[name] is None else tuple(value[name]) for name in lists},
            conformal=tuple(map(Scores.from_json, value["conformal"])),
            doubts={name: Scores.from_json(scores) for name, scores in value["doubts"].items()},
            before=value["before"],
            after=value["after"],
        )


def calibrate(
    loss: Loss, target: TargetCodec, outputs: Tensor, y: Tensor, mc_samples: int, seed: int
) -> Calibration | None:
    """Return what the outputs on validation rows teach; None where one of them is not finite.

    `outputs` are [T, R, O] before the link, `y` is the encoded target, int64 [R] or float32 [R, C]; both on the CPU.
    Temperature and noise are fitted on all T samples, so that they suit any number of them; scores, doubts and figures
    are those of the first `mc_samples`, as a prediction has them.
    """
    if not bool(outputs.isfinite().all()):
        return None
    fit = _of_values if target.task == "regression" else _of_classes
    return fit(loss, target, outputs, y, mc_samples, seed)


def _of_classes(loss: Loss, target: TargetCodec, outputs: Tensor, y: Tensor, mc_samples: int, seed: int) -> Calibration:
    temperature = fit_temperature(loss, outputs, y)
    outputs = outputs[: max(mc_samples, 1)]
    before = _classes(loss, target, outputs, None)
    after = _classes(loss, target, outputs, temperature)
    scores = nonconformity(after.probabilities)
    if target.task == "multi_label":
        # Of the rows that a label holds for: it is then among those named with the probability asked for.
        conformal = tuple(_scores(column[truth > 0], y.shape[1]) for column, truth in zip(scores.T, y.T, strict=True))
    else:
        conformal = (_scores(scores.gather(1, y[:, None])[:, 0], 1),)
    found = Calibration(
        len(y), mc_samples, seed, tuple(temperature.tolist()), conformal=conformal, doubts=_doubts(after)
    )
    quality = [ClassQuality(LEVEL), ClassQuality(LEVEL, found.threshold(LEVEL))]
    for judge, said in zip(quality, (before, after), strict=True):
        judge.add(said.probabilities, y)
    return _judged(found, quality)


def _classes(loss: Loss, target: TargetCodec, outputs: Tensor, temperature: Tensor | None) -> ClassUncertainty:
    samples = (LabelSamples if target.task == "multi_label" else ClassSamples)(tempered(loss, temperature))
    samples.add(outputs)
    return samples.result()


def _of_values(loss: Loss, target: TargetCodec, outputs: Tensor, y: Tensor, mc_samples: int, seed: int) -> Calibration:
    truth = torch.from_numpy(target.decode(y.numpy()))
    bare = ValueNoise(loss, target)
    drawn = _values(loss, target, outputs, bare)
    values = drawn.samples.movedim(1, 0)
    if drawn.noise is None:
        precision, factor = fit_deviation(truth, values).pow(-2), None
    else:
        precision, factor = None, fit_factor(truth, values, drawn.noise.movedim(1, 0))
    outputs = outputs[: max(mc_samples, 1)]
    before = _values(loss, target, outputs, bare)
    after = _values(loss, target, outputs, ValueNoise(loss, target, precision, factor))
    scores = (truth - after.mean).abs() / after.std
    found = Calibration(
        len(y),
        mc_samples,
        seed,
        noise_precision=None if precision is None else tuple(precision.tolist()),
        noise_factor=None if factor is None else tuple(factor.tolist()),
        conformal=tuple(_scores(column, scores.shape[1]) for column in scores.T),
        doubts=_doubts(after),
    )
    threshold = found.threshold(LEVEL)
    known = None if bool(threshold.isinf().any()) else threshold
    quality = [ValueQuality(LEVEL), ValueQuality(LEVEL, known)]
    for judge, said in zip(quality, (before, after), strict=True):
        judge.add(said, truth)
    return _judged(found, quality)


def _values(loss: Loss, target: TargetCodec, outputs: Tensor, noise: ValueNoise) -> ValueUncertainty:
    samples = ValueSamples(loss.link, lambda values: torch.from_numpy(target.decode(values.numpy())), (), noise)
    samples.add(outputs)
    return samples.result()


def _scores(scores: Tensor, columns: int) -> Scores:
    return Scores.of(scores, max(FEWEST_KEPT, min(MOST_KEPT, MOST_IN_ALL // columns)))


def _doubts(found: ClassUncertainty | ValueUncertainty) -> dict[str, Scores]:
    return {name: Scores.of(values, DOUBTS_KEPT) for name, values in found.doubts.items()}


def _judged(found: Calibration, quality: list[ClassQuality] | list[ValueQuality]) -> Calibration:
    before, after = ({name: _number(value) for name, value in judge.values().items()} for judge in quality)
    return replace(found, before=before, after=after)


def _number(value: Any) -> Any:
    """Return a figure as JSON has it: no NaN, which stands for one that is not defined."""
    if isinstance(value, dict):
        return {name: _number(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tensor(numbers: tuple[float, ...] | None) -> Tensor | None:
    return None if numbers is None else torch.tensor(numbers, dtype=torch.float64)
