"""A model as an ONNX file: columns by their names, strings among them, in front of the graph that torch converts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.compose
import onnxruntime
import torch
from onnx import NodeProto, TensorProto, ValueInfoProto, helper
from torch import Tensor, nn

from service.blocks.tokens import FIRST, PADDING
from service.blocks.tokens import UNKNOWN as UNKNOWN_TOKEN
from service.data.frame import Frame
from service.data.graph_frame import MISSING, UNKNOWN
from service.data.text import MISSING as MISSING_WORDS
from service.errors import NotExportable, Problem
from service.export.check import Arrays, Ask
from service.export.graph import Graph, quiet, refusal
from service.export.inputs import CODES, MATRIX, Given, GraphInputs, tokens_of
from service.export.outputs import UNITS
from service.predict.cache import LoadedModel

PREFIX = "trainyard/"
"""Of every name inside: columns may be called as anything there is."""
ML = "ai.onnx.ml"
ML_VERSION = 3
BATCH = "rows"
MOST_BYTES = 2_000_000_000
"""A file of Protocol Buffers cannot be larger than 2 GiB."""
KINDS = {torch.float64: TensorProto.DOUBLE, torch.float32: TensorProto.FLOAT, torch.int64: TensorProto.INT64}
WORDS = {TensorProto.DOUBLE: "float64", TensorProto.FLOAT: "float32", TensorProto.STRING: "string"}


def convert(loaded: LoadedModel, graph: Graph) -> onnx.ModelProto:
    """Return the model, without its manifest.

    Raises:
        NotExportable: A layer has no counterpart in ONNX, or the weights are too large for a file.
    """
    if loaded.size > MOST_BYTES:
        allowed = ["safetensors", "torch"]
        raise NotExportable([Problem("format", "an ONNX file cannot be larger than 2 GiB", "onnx", allowed)])
    try:
        inner = _converted(graph.program)
    except Exception as error:
        raise refusal(loaded, _converts, error) from error
    inner = onnx.compose.add_prefix(inner, PREFIX)
    front, inputs = _front(graph.inputs, [value.name for value in inner.graph.input])
    back, outputs = _back(graph.whole.outputs.names, inner.graph.output)
    nodes = [*front, *inner.graph.node, *back]
    for node in nodes:
        # What torch notes of the source: paths of this machine.
        del node.metadata_props[:]
        node.doc_string = ""
    model = helper.make_model(
        helper.make_graph(nodes, "trainyard", inputs, outputs, inner.graph.initializer),
        opset_imports=[*inner.opset_import, helper.make_opsetid(ML, ML_VERSION)],
        functions=inner.functions,
        ir_version=inner.ir_version,
        producer_name="trainyard",
    )
    onnx.checker.check_model(model)
    return model


def write(model: onnx.ModelProto, key: str, manifest: str) -> bytes:
    """Return the file, with the manifest among its metadata."""
    helper.set_model_props(model, {key: manifest})
    data: bytes = model.SerializeToString()
    return data


def _converted(program: torch.export.ExportedProgram) -> onnx.ModelProto:
    with quiet(), torch.no_grad():
        found = torch.onnx.export(program, (), dynamo=True, verbose=False)
    assert found is not None
    return found.model_proto


def _converts(module: nn.Module, x: Tensor) -> None:
    _converted(torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim(BATCH, min=1)},)))


def input_name(column: str) -> str:
    """Return what the input of a column is called: its name, unless an output could have it."""
    return f"input:{column}" if column in UNITS else column


def _value(name: str, kind: int, shape: Sequence[int]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [BATCH, *shape])


def _front(inputs: GraphInputs, inner: Sequence[str]) -> tuple[list[NodeProto], list[ValueInfoProto]]:
    """Return the nodes from named columns to what the inner graph is given, and these columns."""
    nodes, values = [], []
    for given, into in zip(inputs.given, inner, strict=True):
        made, taken = _columns(inputs, given, into)
        nodes += made
        values += taken
    return nodes, values


def _columns(inputs: GraphInputs, given: Given, into: str) -> tuple[list[NodeProto], list[ValueInfoProto]]:
    if inputs.numbers and given.name in (MATRIX, "input"):
        names = [input_name(name) for name in inputs.numbers]
        return _side_by_side(names, into), [_value(name, TensorProto.DOUBLE, ()) for name in names]
    if inputs.words and given.name == CODES:
        names = [input_name(name) for name in inputs.words]
        codes = [f"{PREFIX}codes/{name}" for name in names]
        looked_up = [
            _lookup(name, code, _word_codes(known), UNKNOWN)
            for name, code, known in zip(names, codes, inputs.words.values(), strict=True)
        ]
        return looked_up + _side_by_side(codes, into), [_value(name, TensorProto.STRING, ()) for name in names]
    name = input_name(given.name)
    text = next((text for text in inputs.texts if text.column == given.name), None)
    if text is not None:
        ids = {"": PADDING, **{token: place for place, token in enumerate(text.vocabulary, FIRST)}}
        return [_lookup(name, into, ids, UNKNOWN_TOKEN)], [_value(name, TensorProto.STRING, given.shape)]
    return [helper.make_node("Identity", [name], [into])], [_value(name, KINDS[given.dtype], given.shape)]


def _side_by_side(names: Sequence[str], into: str) -> list[NodeProto]:
    """Return the nodes that make a matrix of vectors."""
    axes, columns = f"{into}/axes", [f"{into}/{place}" for place in range(len(names))]
    one = helper.make_tensor(axes, TensorProto.INT64, [1], [1])
    return [
        helper.make_node("Constant", [], [axes], value=one),
        *(helper.make_node("Unsqueeze", [name, axes], [column]) for name, column in zip(names, columns, strict=True)),
        helper.make_node("Concat", columns, [into], axis=1),
    ]


def _word_codes(known: Sequence[str]) -> dict[str, int]:
    missing = dict.fromkeys(MISSING_WORDS, MISSING)
    return {**{word: place for place, word in enumerate(known)}, **missing}


def _lookup(name: str, into: str, codes: dict[str, int], otherwise: int) -> NodeProto:
    return helper.make_node(
        "LabelEncoder", [name], [into], domain=ML,
        keys_strings=list(codes), values_int64s=list(codes.values()), default_int64=otherwise,
    )  # fmt: skip


def _back(names: Sequence[str], inner: Sequence[ValueInfoProto]) -> tuple[list[NodeProto], list[ValueInfoProto]]:
    """Return the nodes that give what comes out its name, and the outputs."""
    nodes = [helper.make_node("Identity", [value.name], [name]) for value, name in zip(inner, names, strict=True)]
    types = [value.type.tensor_type for value in inner]
    shapes = [[dim.dim_value for dim in kind.shape.dim][1:] for kind in types]
    values = [_value(name, kind.elem_type, shape) for name, kind, shape in zip(names, types, shapes, strict=True)]
    return nodes, values


def described(model: onnx.ModelProto, inputs: GraphInputs) -> list[dict[str, Any]]:
    """Return as JSON values what the file takes."""
    found = []
    texts = {input_name(text.column): text for text in inputs.texts}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [BATCH, *(dim.dim_value for dim in kind.shape.dim[1:])]
        about = {"name": value.name, "dtype": WORDS[kind.elem_type], "shape": shape}
        found.append({**about, "tokens": tokens_of(texts[value.name])} if value.name in texts else about)
    return found


def asking(data: bytes, graph: Graph) -> Ask:
    """Return what asks a file by ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def ask(frame: Frame) -> Arrays:
        found = session.run(list(graph.whole.outputs.names), columns_of(graph.inputs, frame))
        return dict(zip(graph.whole.outputs.names, found, strict=True))

    return ask


def columns_of(inputs: GraphInputs, frame: Frame) -> dict[str, Any]:
    """Return columns as what a file is given, by the names of its inputs."""
    found: dict[str, Any] = {}
    for name in inputs.numbers:
        found[input_name(name)] = frame[name].values
    for name in inputs.words:
        words = frame[name].values.tolist()
        found[input_name(name)] = np.array(["" if word is None else word for word in words], object)
    for text in inputs.texts:
        step, words = text.step, frame[text.column].values.tolist()
        tokens = [step.tokens(word)[: step.length] for word in words]
        padded = [_padded(found_tokens, step.length, before=step.pad == "before") for found_tokens in tokens]
        found[input_name(text.column)] = np.array(padded, object)
    for tensor, given in zip(inputs.tensors, inputs.given[len(inputs.given) - len(inputs.tensors) :], strict=True):
        kind = np.float32 if given.dtype == torch.float32 else np.float64
        found[input_name(given.name)] = frame[tensor.name].values.astype(kind)
    return found


def _padded(tokens: list[str], length: int, *, before: bool) -> list[str]:
    rest = [""] * (length - len(tokens))
    return rest + tokens if before else tokens + rest
