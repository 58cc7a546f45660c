"""Evaluating a model on rows whose truth is known: the whole way of one request."""

import math
from collections.abc import Iterator
from typing import Any

from service.data.formats import contents_sha256
from service.data.profile import ColumnProfile
from service.errors import InvalidInput, NotFound, Problem, TooLarge
from service.predict.cache import LoadedModel
from service.predict.evaluation_messages import EvaluateAnswer, EvaluateRequest
from service.predict.judge import Judge, judge
from service.predict.labelled import Labelled, frames, labelled, of_rows
from service.predict.plan import plan_of
from service.predict.predict import check_samples, use_threads
from service.settings import Settings
from service.store import datasets
from service.store.engine import Store
from service.store.tables import Dataset
from service.uncertainty.calibration import LEVEL

OWN_DATA = "The model was trained on this data set: on rows that it learned from, it looks better than it is."


def evaluate(loaded: LoadedModel, request: EvaluateRequest, store: Store, settings: Settings) -> EvaluateAnswer:
    """Answer a request, in memory that grows by two numbers a row. The same request gives the same answer.

    Raises:
        InvalidInput: Something that this model cannot answer, or rows that do not fit it.
        TooLarge: More rows, or more numbers to compute, than the settings allow.
    """
    check_samples(request.mc_samples, settings)
    plan = plan_of(loaded, request)
    by = request.by or plan.doubts[0]
    if by not in plan.doubts:
        raise InvalidInput([Problem("by", "is not known of this model's predictions", by, list(plan.doubts))])
    dataset = None if request.dataset is None else dataset_of(store, request.dataset)
    rows = dataset.rows if dataset else len(request.rows or [])
    check_work(rows, plan.networks * plan.answers.values, settings)
    use_threads(settings.predict_threads)
    level = LEVEL if request.coverage is None else request.coverage
    found = Judge(loaded, plan, level, by)
    for part in _parts(loaded, store, dataset, request):
        judge(loaded, plan, part, request.seed, settings.predict_tile_bytes, found)
    return EvaluateAnswer.model_validate(
        {
            "dataset": request.dataset,
            "rows": rows,
            "mc_samples": plan.samples,
            "seed": request.seed,
            "calibrated": plan.calibration is not None,
            "level": level,
            "note": OWN_DATA if dataset and _contents(dataset) == loaded.data_sha256 else None,
            **defined(found.answer()),
        }
    )


def _contents(dataset: Dataset) -> str:
    columns = [ColumnProfile.model_validate(column) for column in dataset.columns]
    return contents_sha256(dataset.sha256, dataset.format, columns)


def _parts(loaded: LoadedModel, store: Store, dataset: Dataset | None, request: EvaluateRequest) -> Iterator[Labelled]:
    if dataset is not None:
        return labelled(loaded, frames(store, dataset, loaded))
    return iter([of_rows(loaded, request.rows or [])])


def dataset_of(store: Store, dataset_id: str) -> Dataset:
    """Return a data set of a request.

    Raises:
        InvalidInput: There is none with this id.
    """
    try:
        with store.read() as session:
            return datasets.get(session, dataset_id)
    except NotFound as error:
        raise InvalidInput([Problem("dataset", "there is no data set with this id", dataset_id)]) from error


def check_work(rows: int, each: int, settings: Settings) -> None:
    """Refuse what would take too long: so many numbers for each of so many rows.

    Raises:
        TooLarge: It is more than the settings allow.
    """
    if rows > settings.max_evaluate_rows:
        raise TooLarge(f"{rows:,} rows are more than the {settings.max_evaluate_rows:,} that one request may look at.")
    if rows * each > settings.max_evaluate_values:
        raise TooLarge(
            f"{rows:,} rows x {each:,} numbers each are more than the {settings.max_evaluate_values:,} that one "
            "request may compute: ask for fewer samples, repeats or rows."
        )


def defined(value: Any) -> Any:
    """Return figures as JSON has them: null for those that are not defined."""
    if isinstance(value, dict):
        return {name: defined(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [defined(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
