"""What a request asks of a model, held against what the model can answer."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from service.errors import InvalidInput, Problem
from service.predict.answers import Answers
from service.predict.cache import LoadedModel
from service.predict.class_answers import ClassAnswers, LabelAnswers
from service.predict.options import Sampling
from service.predict.value_answers import ValueAnswers
from service.uncertainty.calibration import Calibration
from service.uncertainty.samples import CLASS_DOUBTS, VALUE_DOUBTS
from service.uncertainty.value_noise import ValueNoise

NO_CALIBRATION = "needs a calibration, and this model has none: it was trained without validation rows"


@dataclass(frozen=True)
class Plan:
    """How rows are sampled and answered."""

    samples: int
    """Thinned networks, of each member; 0: one pass of the whole network."""
    answers: Answers[Any]
    doubts: tuple[str, ...]
    """Names of the doubts that are answered."""
    calibration: Calibration | None
    """What is applied."""
    members: int = 1
    """Trained networks that every row is run through."""

    @property
    def networks(self) -> int:
        """Networks, thinned or not, behind every prediction."""
        return self.members * max(self.samples, 1)


def plan_of(
    loaded: LoadedModel,
    request: Sampling,
    *,
    keep: bool = False,
    quantiles: list[float] | None = None,
    intervals: list[float] | None = None,
    needs: str | None = None,
) -> Plan:
    """Return how a request is answered; `needs` is the path of something else that needs the calibration.

    Raises:
        InvalidInput: It asks for what this model, or this way of sampling it, does not have.
    """
    is_regression = loaded.target.task == "regression"
    problems = _unfit(is_regression, request, intervals or [])
    calibration = _calibration(loaded, request, needs, problems)
    precision = _precision(loaded, request, problems)
    if problems:
        raise InvalidInput(problems)
    samples = request.mc_samples if loaded.monte_carlo.stochastic_layers else 0
    threshold = calibration.threshold(request.coverage) if calibration and request.coverage is not None else None
    members = loaded.monte_carlo.members
    # The one pass of one network without noise is no sample: with none asked for there is nothing to keep.
    keep = keep and samples + members > 1
    loss, target = loaded.spec.loss, loaded.target
    if not is_regression:
        kind = LabelAnswers if target.task == "multi_label" else ClassAnswers
        names = target.labels if target.classes is None else target.classes
        temperature = calibration.temperatures if calibration else None
        return Plan(samples, kind(loss, names, keep, temperature, threshold), CLASS_DOUBTS, calibration, members)
    noise = calibration.noise(loss, target) if calibration else ValueNoise(loss, target)
    if precision is not None:
        noise = ValueNoise(loss, target, precision)
    known = noise(torch.zeros(1, loaded.outputs)) is not None
    answers = ValueAnswers(noise, quantiles or [], keep, intervals or [], threshold)
    return Plan(samples, answers, VALUE_DOUBTS if known else VALUE_DOUBTS[:2], calibration, members)


def _unfit(is_regression: bool, request: Sampling, intervals: list[float]) -> list[Problem]:
    """Return what only a regression could be asked for."""
    if is_regression:
        return []
    asked = {"noise_precision": request.noise_precision, "intervals": intervals or None}
    message = "is for numbers; this model predicts classes (coverage gives a set of them)"
    return [Problem(path, message, got) for path, got in asked.items() if got is not None]


def _calibration(
    loaded: LoadedModel, request: Sampling, needs: str | None, problems: list[Problem]
) -> Calibration | None:
    """Return the calibration that is to be applied; what it lacks is added to `problems`."""
    needed = {"coverage": request.coverage is not None, needs or "": needs is not None}
    paths = [path for path, wanted in needed.items() if wanted]
    found = loaded.calibration
    if found is None:
        paths += ["calibrated"] if request.calibrated else []
        problems += [Problem(path, NO_CALIBRATION) for path in paths]
        return None
    for path in paths:
        if request.calibrated is False:
            problems.append(Problem(path, "holds for calibrated predictions only", got={"calibrated": False}))
        elif request.noise_precision is not None:
            problems.append(Problem(path, "holds for the noise that was fitted; leave noise_precision out"))
        elif not request.mc_samples and loaded.monte_carlo.stochastic_layers:
            problems.append(Problem(path, "holds for Monte-Carlo samples; mc_samples is 0", got={"mc_samples": 0}))
    _check_coverage(loaded, found, request, problems)
    if request.calibrated and request.noise_precision is not None:
        problems.append(Problem("noise_precision", "stands for the noise that calibration fits; ask for one of them"))
    by_default = (request.mc_samples > 0 or bool(paths)) and request.noise_precision is None
    return found if (by_default if request.calibrated is None else request.calibrated) else None


def _check_coverage(loaded: LoadedModel, found: Calibration, request: Sampling, problems: list[Problem]) -> None:
    # A label with too few rows is in every set, which is true, and says so only of that label.
    if request.coverage is None or loaded.target.task == "multi_label":
        return
    most = min(scores.most_coverage for scores in found.conformal)
    if request.coverage > most:
        message = f"is more than the model's {found.rows} validation rows can speak of"
        problems.append(Problem("coverage", message, request.coverage, {"le": round(most, 4)}))


def _precision(loaded: LoadedModel, request: Sampling, problems: list[Problem]) -> Tensor | None:
    given, columns = request.noise_precision, loaded.target.columns
    if given is None:
        return None
    if isinstance(given, list) and len(given) != columns:
        problems.append(Problem("noise_precision", "must be one number, or one a target", given, columns))
        return None
    return torch.tensor(given, dtype=torch.float64).expand(columns)
