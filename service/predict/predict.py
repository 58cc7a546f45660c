"""From raw rows to predictions with uncertainty: the whole way of one request."""

from collections.abc import Iterator

import torch
from torch import Tensor

from service.errors import InvalidInput, InvalidRows, Problem, TooLarge
from service.network.tokens import foreign_token
from service.predict.answers import Answers, ClassAnswers, ValueAnswers
from service.predict.cache import LoadedModel
from service.predict.label_answers import LabelAnswers
from service.predict.messages import PredictAnswer, PredictRequest
from service.predict.monte_carlo import Chunk
from service.settings import Settings

NO_SPREAD = (
    "No layer of this network is stochastic, so every sample would be the same: this is one pass of the whole network, "
    "and a spread of 0 says nothing of how sure it is."
)


def predict(loaded: LoadedModel, request: PredictRequest, settings: Settings) -> PredictAnswer:
    """Answer a request. The same request to the same model gives the same bytes.

    Raises:
        InvalidInput: More samples than the settings allow.
        InvalidRows: Rows that do not fit the model, all of them by path.
        TooLarge: More rows, or more numbers to compute or to answer, than the settings allow.
    """
    layers = loaded.monte_carlo.stochastic_layers
    samples = request.mc_samples if layers else 0
    # The one pass without noise is no sample: with none asked for there is nothing to keep.
    answers = answers_of(loaded, request, keep=request.return_samples and samples > 0)
    _check_limits(request, samples, answers.values, settings)
    _use_threads(settings.predict_threads)
    x = torch.from_numpy(loaded.features.transform(loaded.features.read_rows(request.rows)))
    _check_tokens(loaded, x)
    predictions = []
    with torch.inference_mode():
        most_rows = answers.most_rows(samples, settings.predict_tile_bytes)
        for chunk in loaded.monte_carlo.chunks(x, settings.predict_tile_bytes, most_rows):
            predictions += answers.of(_outputs(loaded, chunk, samples, request.seed), chunk.rows.start)
    if request.return_samples and not samples:
        predictions = [{**prediction, "samples": []} for prediction in predictions]
    # Nothing is left to check in numbers of our own making, and checking 100,000 rows takes longer than predicting.
    return PredictAnswer.model_construct(
        predictions=predictions,
        mc_samples=samples,
        seed=request.seed,
        stochastic_layers=layers,
        note=NO_SPREAD if request.mc_samples and not layers else None,
    )


def answers_of(loaded: LoadedModel, request: PredictRequest, keep: bool) -> Answers:
    """Return how outputs become predictions."""
    loss, target = loaded.spec.loss, loaded.target
    if target.task == "multi_label":
        return LabelAnswers(loss, target.labels, keep)
    if target.classes is not None:
        return ClassAnswers(loss, target.classes, keep)
    return ValueAnswers(loss, target, request.quantiles, keep)


def _outputs(loaded: LoadedModel, chunk: Chunk, samples: int, seed: int) -> Iterator[Tensor]:
    if samples:
        return loaded.monte_carlo.draws(chunk, samples, seed)
    return iter([loaded.monte_carlo.outputs(chunk).unsqueeze(0)])


def _check_limits(request: PredictRequest, samples: int, values: int, settings: Settings) -> None:
    """Refuse what would take too long or too much memory before any of it is spent."""
    if request.mc_samples > settings.max_mc_samples:
        message = f"must be at most {settings.max_mc_samples}"
        raise InvalidInput([Problem("mc_samples", message, request.mc_samples, settings.max_mc_samples)])
    rows = len(request.rows)
    if rows > settings.max_predict_rows:
        raise TooLarge(f"{rows:,} rows are more than the {settings.max_predict_rows:,} that one request may hold.")
    numbers = rows * max(samples, 1) * values
    what = f"{rows:,} rows x {max(samples, 1):,} samples x {values:,} outputs"
    if numbers > settings.max_predict_values:
        raise TooLarge(f"{what} are more than the {settings.max_predict_values:,} numbers one request may ask for.")
    if request.return_samples and samples and numbers > settings.max_answer_values:
        raise TooLarge(
            f"{what} are more than the {settings.max_answer_values:,} numbers that one answer may hold: "
            "ask for fewer samples or rows, or without return_samples."
        )


def _check_tokens(loaded: LoadedModel, x: Tensor) -> None:
    if loaded.takes_tokens and (found := foreign_token(loaded.monte_carlo.network, x)) is not None:
        row, value, tokens = found
        message = "holds a number that is no token id of this model"
        raise InvalidRows([Problem(f"rows[{row}]", message, value, f"whole numbers from 0 to {tokens - 1}")])


def _use_threads(threads: int) -> None:
    # Every thread of the server has its own number; setting it anew takes longer than asking.
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
