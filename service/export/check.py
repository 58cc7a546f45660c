"""Whether an exported file answers as the service does: no file is given out that was not asked and compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.data.frame import Frame
from service.data.profile import ColumnProfile
from service.errors import InvalidRows, NotExportable, Problem
from service.export.graph import Graph
from service.export.specimens import specimens
from service.predict.cache import LoadedModel
from service.predict.messages import PredictRequest
from service.predict.predict import predict
from service.settings import Settings

TOLERANCE = 1e-5
"""Largest difference of a probability; of other numbers in units of the deviation that the target had, or of 1."""
Arrays = dict[str, NDArray[Any]]
Ask = Callable[[Frame], Arrays]
"""Asks a file for its answers to the columns of some rows, by the names of its outputs."""


@dataclass(frozen=True)
class Checked:
    """On how many rows a file was compared, and by how much its answers differ at most; None: they are random."""

    rows: int
    largest_difference: float | None

    def to_json(self) -> dict[str, Any]:
        """Return both as JSON values."""
        return {"rows": self.rows, "largest_difference": self.largest_difference, "tolerance": TOLERANCE}


def check(loaded: LoadedModel, graph: Graph, columns: Sequence[ColumnProfile], ask: Ask) -> Checked:
    """Ask a file about rows that the service has answered; of one with dropout only whether it answers with numbers.

    Raises:
        NotExportable: An answer differs by more than `TOLERANCE`, or there is no row to ask about.
    """
    rows, answers = _answered(loaded, specimens(loaded, graph.inputs, columns))
    asked = [ask(loaded.features.read_rows(part)) for part in (rows, rows[:1])]
    if graph.dropout:
        sound = all(np.isfinite(values).all() for values in asked[0].values())
        return _held(sound, Checked(len(rows), None), "answers with what is no number")
    truth = {name: _expected(answers, name) for name in graph.whole.outputs.names}
    scale = 1.0 if loaded.target.task != "regression" else np.maximum(1.0, loaded.target.scale)
    pairs = [(found[name], truth[name][: len(found[name])]) for found in asked for name in truth]
    # What float32 can tell apart grows with the numbers.
    largest = max(float((np.abs(got - said) / np.maximum(np.abs(said), scale)).max()) for got, said in pairs)
    return _held(largest <= TOLERANCE, Checked(len(rows), largest), f"differs from the service by {largest:.3g}")


def _held(sound: bool, checked: Checked, why: str) -> Checked:
    if not sound:
        raise NotExportable([Problem("format", f"what comes of it {why}, and is not given out")])
    return checked


def _answered(loaded: LoadedModel, rows: list[list[Any]]) -> tuple[list[list[Any]], list[Any]]:
    """Return the rows that the service answers, and its answers; drawn ones may lie where it has none."""
    while rows:
        try:
            answer = predict(loaded, PredictRequest(rows=rows, mc_samples=0), Settings())
        except InvalidRows as error:
            wrong = {int(problem.path.removeprefix("rows[").partition("]")[0]) for problem in error.problems}
            rows = [row for place, row in enumerate(rows) if place not in wrong]
            continue
        return rows, list(answer.predictions)
    raise NotExportable([Problem("format", "the model answers none of the rows that the file is to be checked on")])


def _expected(answers: list[Any], name: str) -> NDArray[Any]:
    """Return what the service said, in the shape of a file's output."""
    found = [answer[name] for answer in answers]
    values = np.array([list(item.values()) if isinstance(item, dict) else item for item in found], np.float64)
    axes = 3 if name == "predicted_quantiles" else 2
    return values[..., None] if values.ndim < axes else values
