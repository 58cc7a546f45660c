"""The columns of a table of predictions: the fields of an answer's entries, with types that no row can change."""

from collections.abc import Sequence

import polars as pl

from service.data.profile import Value, key_of
from service.predict.bulk.bulk import Bulk
from service.uncertainty.predicted import PredictedQuantiles
from service.uncertainty.samples import CLASS_DOUBTS

Schema = dict[str, pl.DataType]
NUMBER = pl.Float64()


def schema_of(bulk: Bulk) -> Schema:
    """Return the type of every field that predictions have, in the order in which they have them."""
    schema = _of_values(bulk) if bulk.loaded.target.task == "regression" else _of_classes(bulk)
    if bulk.asked.adaptive:
        schema["mc_samples"] = pl.Int64()
    if bulk.abstention:
        schema["abstained"] = pl.Boolean()
    return schema


def _of_classes(bulk: Bulk) -> Schema:
    target = bulk.loaded.target
    kind = _kind(target.classes or ())
    if target.classes is None:
        names, schema = list(target.labels), Schema(labels=pl.List(kind))
    else:
        names, schema = [key_of(value) for value in target.classes], Schema(label=kind)
    of_each = _struct(names, NUMBER)
    schema |= {"probabilities": of_each, "probabilities_std": of_each, **dict.fromkeys(CLASS_DOUBTS, NUMBER)}
    if bulk.asked.coverage is not None:
        schema["set"] = pl.List(kind)
    return schema | ({"samples": pl.List(pl.List(NUMBER))} if bulk.asked.return_samples else {})


def _of_values(bulk: Bulk) -> Schema:
    asked, value = bulk.asked, NUMBER if bulk.plan.answers.values == 1 else pl.List(NUMBER)
    schema: Schema = dict.fromkeys(("mean", "std", "epistemic_std", "aleatoric_std"), value)
    schema["quantiles"] = _struct([str(level) for level in asked.quantiles], value)
    if asked.intervals:
        schema["intervals"] = _struct([str(level) for level in asked.intervals], pl.List(value))
    if asked.coverage is not None:
        schema["interval"] = pl.List(value)
    if predicted := PredictedQuantiles.of(bulk.loaded.spec.loss):
        schema["predicted_quantiles"] = _struct(predicted.keys, value)
    return schema | ({"samples": pl.List(value)} if asked.return_samples else {})


def _struct(names: list[str], value: pl.DataType) -> pl.DataType:
    return pl.Struct(dict.fromkeys(names, value))


def _kind(classes: Sequence[Value]) -> pl.DataType:
    kinds = {type(value) for value in classes} or {str}
    if kinds == {bool}:
        return pl.Boolean()
    if kinds == {int}:
        return pl.Int64()
    return pl.Float64() if kinds <= {int, float} else pl.String()
