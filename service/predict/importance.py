"""Permutation importance: what a model loses when a column no longer goes with its rows.

Reference: Breiman 2001, "Random Forests", section 10; Fisher, Rudin and Dominici 2019, "All Models are Wrong, but Many
are Useful", section 3.
"""

import math
from dataclasses import replace

import numpy as np

from service.blocks.metrics import Metric
from service.data.frame import Frame, rows_of, take
from service.data.text import joined
from service.errors import InvalidInput, Problem, TooLarge
from service.predict.cache import LoadedModel
from service.predict.evaluate import check_work, dataset_of, defined
from service.predict.evaluation_messages import ImportanceAnswer, ImportanceRequest
from service.predict.judge import MetricSums, judge
from service.predict.labelled import MOST_ROWS, frames, labelled
from service.predict.options import Sampling
from service.predict.plan import Plan, plan_of
from service.predict.predict import check_samples, use_threads
from service.randomness import permutation
from service.settings import Settings
from service.store.engine import Store

MOST_CELLS = 50_000_000
"""Values of the columns in memory: a column can be shuffled only when all of it is there."""


def importance(loaded: LoadedModel, request: ImportanceRequest, store: Store, settings: Settings) -> ImportanceAnswer:
    """Answer a request. The same request gives the same answer.

    Raises:
        InvalidInput: A metric that is not for this model, or rows that do not fit it.
        TooLarge: More to hold, or to compute, than is allowed.
    """
    check_samples(request.mc_samples, settings)
    metric = _metric(loaded, request.metric)
    plan = plan_of(loaded, Sampling(mc_samples=request.mc_samples, seed=request.seed))
    dataset = dataset_of(store, request.dataset)
    columns = loaded.features.columns
    passes = len(columns) * request.repeats + 1
    check_work(dataset.rows, passes * plan.networks * plan.answers.values, settings)
    cells = dataset.rows * sum(math.prod(column.shape or ()) for column in columns)
    if cells > MOST_CELLS:
        raise TooLarge(f"The data set has {cells:,} values; importance looks at no more than {MOST_CELLS:,} at once.")
    use_threads(settings.predict_threads)
    parts = list(frames(store, dataset, loaded))
    frame = {name: joined([part[name] for part in parts]) for name in parts[0]}

    def measured(shuffled: Frame) -> float:
        return _measured(loaded, plan, metric, shuffled, request.seed, settings.predict_tile_bytes)

    baseline = measured(frame)
    sign = 1.0 if metric.higher_is_better else -1.0
    found = []
    for place, column in enumerate(columns):
        drops = np.array(
            [
                sign * (baseline - measured(_shuffled(frame, column.name, request.seed, place, repeat)))
                for repeat in range(request.repeats)
            ]
        )
        found.append({"column": column.name, "mean": float(drops.mean()), "std": float(drops.std())})
    return ImportanceAnswer.model_validate(
        {
            "dataset": request.dataset,
            "rows": dataset.rows,
            "metric": metric.key,
            "baseline": defined(baseline),
            "mc_samples": plan.samples,
            "repeats": request.repeats,
            "seed": request.seed,
            "columns": defined(found),
        }
    )


def _metric(loaded: LoadedModel, asked: Metric | None) -> Metric:
    """Return the metric asked for, or the specification's first that is one number."""
    if asked is None:
        from_spec = [metric for metric in loaded.spec.metrics if metric.scalar]
        if not from_spec:
            raise InvalidInput([Problem("metric", "is required: the specification names none that is one number")])
        return from_spec[0]
    task = loaded.target.task
    if not asked.scalar or task not in asked.tasks:
        known = [name for name, kind in Metric.members().items() if kind.scalar and task in kind.tasks]
        raise InvalidInput([Problem("metric", "does not measure this model with one number", asked.type, known)])
    return asked


def _shuffled(frame: Frame, name: str, seed: int, place: int, repeat: int) -> Frame:
    column = frame[name]
    order = permutation(len(column.values), seed, "importance", place, repeat).numpy()
    return frame | {name: replace(column, values=column.values[order])}


def _measured(loaded: LoadedModel, plan: Plan, metric: Metric, frame: Frame, seed: int, tile_bytes: int) -> float:
    rows = rows_of(frame)
    sums = MetricSums(loaded, [metric])
    parts = (take(frame, np.arange(start, min(start + MOST_ROWS, rows))) for start in range(0, rows, MOST_ROWS))
    for part in labelled(loaded, parts):
        judge(loaded, plan, part, seed, tile_bytes, sums)
    value: float = sums.values()[metric.key]
    return value
