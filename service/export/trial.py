"""Whether an imported model can answer: there must be room for it, and rows must get through it."""

from collections.abc import Sequence
from contextlib import suppress
from math import prod
from typing import Any

from service.data.profile import ColumnProfile
from service.errors import InvalidModel, InvalidRows, Problem
from service.export.inputs import GraphInputs
from service.export.safetensors_file import KEY
from service.export.specimens import specimens, without
from service.memory import NetworkSize, size_in_words, training_memory
from service.network import Network
from service.predict.cache import LoadedModel
from service.predict.messages import PredictRequest
from service.predict.predict import predict
from service.settings import Settings
from service.spec import JobSpec
from service.store.tables import Model
from service.uncertainty.samples import CLASS_DOUBTS, VALUE_DOUBTS

HERE = f"metadata.{KEY}"
MOST_VALUES = 1 << 22
"""Most numbers of a row: more do not come in a request."""
SAMPLES = 2


def check_size(row: Model, spec: JobSpec, network: Network, settings: Settings) -> None:
    """Refuse what would take more memory than the settings allow a job.

    Raises:
        InvalidModel: Its rows, or what the network makes of one, are too large.
    """
    features = row.preprocessing["features"]
    given = sum(prod(column.get("shape") or [1]) for column in features["columns"])
    # What makes vectors out of words is as wide as it says, whatever the network takes.
    made = sum(_width(item["step"]) * len(item["state"]["columns"]) for item in features["steps"])
    widest = max(given, made, prod(features["input_shape"]))
    if widest > MOST_VALUES or len(row.columns) > settings.max_columns:
        message = "has more numbers a row than come in a request"
        raise InvalidModel([Problem(f"{HERE}.preprocessing", message, widest, f"at most {MOST_VALUES:,}")])
    memory = training_memory(NetworkSize.of(network, spec.training.precision), spec)
    needed, limit = memory.weights_bytes + memory.row_bytes, settings.memory_of_a_job
    if needed > limit:
        message = f"needs about {size_in_words(needed)} of memory for a row, and this server allows"
        raise InvalidModel([Problem(f"{HERE}.spec.network", f"{message} {size_in_words(limit)}", needed, limit)])


def _width(step: dict[str, Any]) -> int:
    return int(step.get("buckets") or (step.get("length") if step["type"] == "tokenize" else None) or 1)


def try_out(loaded: LoadedModel, row: Model) -> None:
    """Have a model answer rows as it will be asked to.

    Raises:
        InvalidModel: It cannot, or its calibration is another model's.
    """
    _check_outputs(loaded)
    _check_calibration(loaded)
    columns = [ColumnProfile.model_validate(column) for column in row.columns]
    try:
        rows = _read(loaded, specimens(loaded, GraphInputs.of(loaded.features), columns))
        for samples in (0, SAMPLES) if rows else ():
            with suppress(InvalidRows):  # drawn rows may lie where there is no answer
                predict(loaded, PredictRequest(rows=rows, mc_samples=samples), Settings())
    except InvalidModel:
        raise
    except Exception as error:
        # Any error there is: what is in the file decides what Python says of it.
        message = f"gives no answer to rows: {type(error).__name__}: {str(error)[:200]}"
        raise InvalidModel([Problem(f"{HERE}.preprocessing", message)]) from error


def _read(loaded: LoadedModel, rows: list[list[Any]]) -> list[list[Any]]:
    """Return those of the rows that preprocessing takes, having seen what it makes of them."""
    place = f"{HERE}.preprocessing.features"
    while rows:
        try:
            shape = loaded.features.of_rows(rows).shape[1:]
        except InvalidRows as error:
            rows = without(rows, error)
            continue
        if shape != loaded.features.input_shape:
            message, needed = "makes rows of another shape than the network takes", loaded.features.input_shape
            raise InvalidModel([Problem(place, message, list(shape), list(needed))])
        return rows
    raise InvalidModel([Problem(place, "takes no row whose values are those of the model's own columns")])


def _check_outputs(loaded: LoadedModel) -> None:
    try:
        needed = loaded.spec.loss.outputs(loaded.target.target)
    except ValueError as error:
        raise InvalidModel([Problem(f"{HERE}.preprocessing.target", str(error))]) from error
    if needed != loaded.outputs:
        message = "is not what loss and target call for"
        raise InvalidModel([Problem(f"{HERE}.preprocessing.outputs", message, loaded.outputs, needed)])


def _check_calibration(loaded: LoadedModel) -> None:
    """See that what was fitted is there for every label or column, and for every doubt that answers know."""
    found = loaded.calibration
    if found is None:
        return
    regression = loaded.target.task == "regression"
    columns = 1 if loaded.target.task == "classification" else loaded.target.columns
    noise = found.noise_precision or found.noise_factor
    fitted: dict[str, Sequence[Any] | None] = {"conformal": found.conformal}
    fitted |= {"noise_precision": noise} if regression else {"temperature": found.temperature}
    problems = [
        Problem(f"{HERE}.calibration.{name}", "needs one entry a label or target", len(values or ()), columns)
        for name, values in fitted.items()
        if len(values or ()) != columns
    ]
    doubts = VALUE_DOUBTS if regression else CLASS_DOUBTS
    missing = [name for name in doubts if name not in found.doubts]
    problems += [Problem(f"{HERE}.calibration.doubts.{name}", "is missing") for name in missing]
    if problems:
        raise InvalidModel(problems)
