"""Asking a model as the API does, and real rows to ask about."""

import csv
import io
from collections.abc import Callable
from typing import Any

import orjson

from service.predict.cache import LoadedModel
from service.predict.messages import PredictRequest
from service.predict.predict import predict
from service.settings import Settings

SETTINGS = Settings()
Load = Callable[[Any], LoadedModel]
"""Puts a trained model into a store and loads it from there."""


def ask(model: LoadedModel, rows: list[Any], settings: Settings = SETTINGS, **options: Any) -> dict[str, Any]:
    answer = predict(model, PredictRequest.model_validate({"rows": rows, **options}), settings).encode()
    decoded: dict[str, Any] = orjson.loads(answer)
    return decoded


def table(data: bytes) -> tuple[list[dict[str, float]], list[str]]:
    """Return the rows of a CSV file without their target, and the targets."""
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    targets = [row.pop("target") for row in rows]
    return [{name: float(value) for name, value in row.items()} for row in rows], targets
