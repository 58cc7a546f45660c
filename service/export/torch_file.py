"""A model as a file of `torch.export`: it is read by torch alone, without any code of ours."""

import io
from typing import Any

import numpy as np
import torch
from torch import Tensor

from service.data.frame import Frame
from service.data.graph_frame import MISSING, UNKNOWN
from service.export.check import Arrays, Ask
from service.export.graph import Graph
from service.export.inputs import GraphInputs

MANIFEST = "trainyard.json"


def write(graph: Graph, manifest: str) -> bytes:
    """Return the file; `manifest` stands among its extra files."""
    file = io.BytesIO()
    torch.export.save(graph.program, file, extra_files={MANIFEST: manifest})
    return file.getvalue()


def asking(data: bytes, graph: Graph) -> Ask:
    """Return what asks a file, as somebody else would read it."""
    program = torch.export.load(io.BytesIO(data)).module()

    def ask(frame: Frame) -> Arrays:
        with torch.no_grad():
            found = program(*given_of(graph.inputs, frame))
        return {name: values.numpy() for name, values in zip(graph.whole.outputs.names, found, strict=True)}

    return ask


def given_of(inputs: GraphInputs, frame: Frame) -> list[Tensor]:
    """Return columns as the tensors that a graph is given."""
    found: list[Any] = []
    if inputs.numbers:
        found.append(np.stack([frame[name].values for name in inputs.numbers], axis=1))
    if inputs.words:
        found.append(np.stack([_codes(frame, name, known) for name, known in inputs.words.items()], axis=1))
    for text in inputs.texts:
        step = text.step.apply({text.column: frame[text.column]}, {"columns": {text.column: list(text.vocabulary)}})
        found.append(step[text.column].values)
    found += [frame[tensor.name].values for tensor in inputs.tensors]
    return [torch.from_numpy(values).to(given.dtype) for values, given in zip(found, inputs.given, strict=True)]


def _codes(frame: Frame, name: str, known: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.int64]]:
    places = {word: place for place, word in enumerate(known)}
    words = frame[name].values.tolist()
    return np.array([MISSING if word is None else places.get(word, UNKNOWN) for word in words], np.int64)
