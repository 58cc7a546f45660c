"""From raw rows to predictions with uncertainty: the whole way of one request."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from service.errors import InvalidInput, InvalidRows, Problem, TooLarge
from service.network.tokens import foreign_token
from service.predict.abstention import Abstention
from service.predict.answers import most_rows
from service.predict.cache import LoadedModel
from service.predict.messages import PredictAnswer, PredictOptions, PredictRequest
from service.predict.plan import Plan, plan_of
from service.predict.sampling import Sampled, outputs_of, until_sure
from service.settings import Settings

NO_SPREAD = (
    "No layer of this network is stochastic, so every sample would be the same: this is one pass of the whole network, "
    "and a spread of 0 says nothing of how sure it is. What it has to offer is in the one pass"
)
WITH_CALIBRATION = ", calibrated on validation rows, and in `coverage`."
WITHOUT_CALIBRATION = " alone; train with validation rows to have it calibrated."


def predict(loaded: LoadedModel, request: PredictRequest, settings: Settings) -> PredictAnswer:
    """Answer a request. The same request to the same model gives the same bytes.

    Raises:
        InvalidInput: More samples than the settings allow, or something that this model cannot answer.
        InvalidRows: Rows that do not fit the model, all of them by path.
        TooLarge: More rows, or more numbers to compute or to answer, than the settings allow.
    """
    plan, abstention = planned(loaded, request)
    _check_limits(request, plan, settings)
    use_threads(settings.predict_threads)
    x = torch.from_numpy(loaded.features.of_rows(request.rows))
    check_tokens(loaded, x)
    predictions = answered(loaded, x, plan, request, settings.predict_tile_bytes)
    if abstention:
        abstention.mark(predictions)
    layers = loaded.monte_carlo.stochastic_layers
    # Nothing is left to check in numbers of our own making, and checking 100,000 rows takes longer than predicting.
    return PredictAnswer.model_construct(
        predictions=predictions,
        mc_samples=plan.samples,
        members=plan.members,
        seed=request.seed,
        stochastic_layers=layers,
        calibrated=plan.calibration is not None,
        note=note_of(loaded, plan, request),
    )


def planned(loaded: LoadedModel, asked: PredictOptions) -> tuple[Plan, Abstention | None]:
    """Return how rows are sampled and answered, and which of the answers are marked as too doubtful.

    Raises:
        InvalidInput: This model cannot answer so.
    """
    abstain = asked.abstain
    plan = plan_of(
        loaded,
        asked,
        keep=asked.return_samples,
        quantiles=asked.quantiles,
        intervals=asked.intervals,
        needs="abstain.coverage" if abstain and abstain.coverage is not None else None,
    )
    return plan, Abstention.of(abstain, plan) if abstain else None


def answered(loaded: LoadedModel, x: Tensor, plan: Plan, asked: PredictOptions, tile_bytes: int) -> list[Any]:
    """Return the predictions of rows as the network takes them, [rows, *shape].

    Raises:
        InvalidRows: What the network makes of a row is not finite.
    """
    predictions: list[Any] = [None] * len(x)
    with torch.inference_mode():
        for sampled in _sampled(loaded, x, plan, asked, tile_bytes):
            for row, prediction in zip(sampled.rows, plan.answers.of(sampled.outputs, sampled.rows), strict=True):
                if asked.adaptive:
                    prediction["mc_samples"] = sampled.samples
                predictions[row] = prediction
    if asked.return_samples and plan.networks == 1 and not plan.samples:
        predictions = [{**prediction, "samples": []} for prediction in predictions]
    return predictions


def _sampled(loaded: LoadedModel, x: Tensor, plan: Plan, asked: PredictOptions, tile_bytes: int) -> Iterator[Sampled]:
    monte_carlo, answers, samples = loaded.monte_carlo, plan.answers, plan.samples
    adaptive = asked.adaptive if samples else None
    held = adaptive is not None or answers.holds_samples
    for chunk in monte_carlo.chunks(x, tile_bytes, most_rows(answers, plan.networks, tile_bytes) if held else None):
        if adaptive:
            yield from until_sure(monte_carlo, chunk, answers, samples, asked.seed, adaptive)
        else:
            rows = list(range(chunk.rows.start, chunk.rows.stop))
            yield Sampled(rows, outputs_of(monte_carlo, chunk, samples, asked.seed), samples)


def note_of(loaded: LoadedModel, plan: Plan, asked: PredictOptions) -> str | None:
    """Return what to know before trusting the spread; None: nothing."""
    if not asked.mc_samples or loaded.monte_carlo.stochastic_layers or plan.members > 1:
        return None
    return NO_SPREAD + (WITH_CALIBRATION if plan.calibration else WITHOUT_CALIBRATION)


def check_samples(asked: int, settings: Settings) -> None:
    """Refuse more samples than the settings allow.

    Raises:
        InvalidInput: There are more.
    """
    if asked > settings.max_mc_samples:
        message = f"must be at most {settings.max_mc_samples}"
        raise InvalidInput([Problem("mc_samples", message, asked, settings.max_mc_samples)])


def _check_limits(request: PredictRequest, plan: Plan, settings: Settings) -> None:
    """Refuse what would take too long or too much memory before any of it is spent."""
    check_samples(request.mc_samples, settings)
    rows = len(request.rows)
    if rows > settings.max_predict_rows:
        raise TooLarge(f"{rows:,} rows are more than the {settings.max_predict_rows:,} that one request may hold.")
    networks, values = plan.networks, plan.answers.values
    numbers = rows * networks * values
    what = f"{rows:,} rows x {networks:,} samples x {values:,} outputs"
    if numbers > settings.max_predict_values:
        raise TooLarge(f"{what} are more than the {settings.max_predict_values:,} numbers one request may ask for.")
    if request.return_samples and networks > 1 and numbers > settings.max_answer_values:
        raise TooLarge(
            f"{what} are more than the {settings.max_answer_values:,} numbers that one answer may hold: "
            "ask for fewer samples or rows, or without return_samples."
        )


def check_tokens(loaded: LoadedModel, x: Tensor) -> None:
    """Refuse rows that hold numbers which are no token ids of this model.

    Raises:
        InvalidRows: The first such row.
    """
    if loaded.takes_tokens and (found := foreign_token(loaded.monte_carlo.network, x)) is not None:
        row, value, tokens = found
        message = "holds a number that is no token id of this model"
        raise InvalidRows([Problem(f"rows[{row}]", message, value, f"whole numbers from 0 to {tokens - 1}")])


def use_threads(threads: int) -> None:
    """Let this thread of the server use so many of its own; setting them anew takes longer than asking."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
