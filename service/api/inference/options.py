"""Parameters of an inference request: the settings of `/v1`'s predict requests, by their names there."""

from collections.abc import Mapping
from typing import Any

import orjson

from service.api.bodies import read_value
from service.errors import InvalidInput, Problem
from service.findings import did_you_mean
from service.predict.messages import PredictRequest

OPTIONS = [name for name in PredictRequest.model_fields if name != "rows"]
RESERVED = ("binary_data_output", "priority", "timeout", "headers")
RESERVED_PREFIXES = ("sequence_", "triton_")
SAMPLES = "samples"
"""The output that is answered only when it is asked for."""


def request_of(rows: list[Any], parameters: Mapping[str, Any], wanted: list[str]) -> PredictRequest:
    """Return what is asked of the model.

    The protocol's parameters are texts, numbers and booleans: a list may come as text, `[0.05, 0.95]` or `0.05,0.95`.

    Raises:
        InvalidInput: A parameter is unknown, or its value not allowed; its path is `parameters.NAME`.
    """
    options = {}
    for name, value in parameters.items():
        if name in OPTIONS:
            options[name] = parsed(value)
        elif name not in RESERVED and not name.startswith(RESERVED_PREFIXES):
            message = "is not a parameter of this server" + did_you_mean(name, OPTIONS)
            raise InvalidInput([Problem(f"parameters.{name}", message, value, OPTIONS)])
    if SAMPLES in wanted:
        options["return_samples"] = True
    try:
        return read_value({"rows": rows, **options}, PredictRequest)
    except InvalidInput as error:
        raise InvalidInput([_placed(problem) for problem in error.problems]) from error


def parsed(value: object) -> object:
    """Return what a text says, where it is JSON or the inside of a list of it; anything else as it is."""
    if not isinstance(value, str):
        return value
    for text in (value, f"[{value}]"):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
    return value


def _placed(problem: Problem) -> Problem:
    own = problem.path.startswith("rows")
    return problem if own else Problem(f"parameters.{problem.path}", problem.message, problem.got, problem.allowed)
