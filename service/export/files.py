"""The formats of other programs: a model, written, checked and described."""

from typing import Literal

from service.data.profile import ColumnProfile
from service.errors import NotExportable, Problem
from service.export import onnx_file, torch_file
from service.export.check import Checked, check
from service.export.graph import Graph, graph_of
from service.export.inputs import described
from service.export.manifest import KEY, manifest
from service.predict.cache import LoadedModel
from service.store.tables import Model

Format = Literal["onnx", "torch"]


def write(row: Model, loaded: LoadedModel, format: Format, *, dropout: bool) -> tuple[bytes, Checked]:
    """Return a model as a file, and what came of holding the file against the service.

    Raises:
        NotExportable: A part of the model has no counterpart, or the file does not answer as the service does.
    """
    if dropout and not loaded.monte_carlo.stochastic_layers:
        message = "keeps random layers on, and no layer of this network is random"
        raise NotExportable([Problem("dropout", message, "on", ["off"])])
    return written(row, loaded, graph_of(loaded, dropout=dropout), format)


def written(row: Model, loaded: LoadedModel, graph: Graph, format: Format) -> tuple[bytes, Checked]:
    """Return a graph as a file; see `write`."""
    columns = [ColumnProfile.model_validate(column) for column in row.columns]
    if format == "torch":
        data = torch_file.write(graph, "")
        checked = check(loaded, graph, columns, torch_file.asking(data, graph))
        return torch_file.write(graph, manifest(row, loaded, graph, described(graph.inputs), checked)), checked
    model = onnx_file.convert(loaded, graph)
    checked = check(loaded, graph, columns, onnx_file.asking(model.SerializeToString(), graph))
    about = manifest(row, loaded, graph, onnx_file.described(model, graph.inputs), checked)
    return onnx_file.write(model, KEY, about), checked
