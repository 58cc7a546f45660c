"""What an exported file says of itself, in JSON: its model, what it takes and gives, what it was held against."""

from importlib.metadata import version
from typing import Any

import orjson

from service.export.check import Checked
from service.export.graph import Graph
from service.export.outputs import UNITS
from service.predict.cache import LoadedModel
from service.store.tables import Model

KEY = "trainyard"
"""Under which ONNX files have it among their metadata; files of torch have it as `trainyard.json`."""


def manifest(row: Model, loaded: LoadedModel, graph: Graph, inputs: list[dict[str, Any]], checked: Checked) -> str:
    """Return the JSON; `inputs` are what this format's graph takes."""
    return orjson.dumps(
        {
            "model": row.id,
            "name": row.name,
            "task": row.task,
            "targets": list(loaded.spec.data.targets),
            "classes": row.classes,
            "inputs": inputs,
            "outputs": [{"name": name, "holds": UNITS[name]} for name in graph.whole.outputs.names],
            "refused_rows": "NaN",
            "dropout": graph.dropout,
            "calibrated": graph.dropout and loaded.calibration is not None,
            "stochastic_layers": loaded.monte_carlo.stochastic_layers,
            "checked": checked.to_json(),
            "weights_sha256": row.weights_sha256,
            "spec_sha256": row.receipt.get("spec_sha256"),
            "data_sha256": row.receipt.get("data_sha256"),
            "versions": {name: version(name) for name in ("trainyard", "torch", "onnx")},
        }
    ).decode()
