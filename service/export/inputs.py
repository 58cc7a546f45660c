"""What an exported graph takes: all numbers as one matrix, words as codes, text as token ids, tensors as they came.

That is how graphs of torch have it; ONNX, which knows strings, puts named columns in front.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from service.blocks.tokens import FIRST, PADDING, Tokenize
from service.blocks.tokens import UNKNOWN as UNKNOWN_TOKEN
from service.data.facts import laid_out_shape, moves_channels
from service.data.features import Features
from service.data.graph_frame import MISSING, UNKNOWN, GraphFrame, Words
from service.data.profile import ColumnProfile

EXACT_IN_FLOAT32 = ("bool", "uint8", "int8", "uint16", "int16", "float16", "float32")
"""Types of tensor elements that a graph takes as float32; others as float64."""
MATRIX, CODES = "numbers", "words"


@dataclass(frozen=True)
class Text:
    """A column that is cut into tokens outside of the graph."""

    column: str
    step: Tokenize
    vocabulary: tuple[str, ...]


@dataclass(frozen=True)
class Given:
    """One tensor that a graph of torch is given: `shape` is that of a row."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class GraphInputs:
    """The feature columns by how they come into the graph, each kind in the order of the columns."""

    features: Features
    numbers: tuple[str, ...]
    words: dict[str, tuple[str, ...]]
    """The words that steps tell apart, by column; a word's code is its place."""
    texts: tuple[Text, ...]
    tensors: tuple[ColumnProfile, ...]

    @classmethod
    def of(cls, features: Features) -> "GraphInputs":
        """Return the inputs of the graph of a model that reads rows in this way."""
        texts = tuple(_texts(features))
        cut = {text.column for text in texts}
        words = [c.name for c in features.columns if c.type == "category" and c.name not in cut]
        return cls(
            features,
            tuple(c.name for c in features.columns if c.type in ("integer", "number", "boolean")),
            {name: _known(features, name) for name in words},
            texts,
            tuple(c for c in features.columns if c.type == "tensor"),
        )

    @property
    def given(self) -> list[Given]:
        """The tensors that the graph is given, in order."""
        found = [Given(MATRIX, torch.float64, (len(self.numbers),))] if self.numbers else []
        found += [Given(CODES, torch.int64, (len(self.words),))] if self.words else []
        found += [Given(text.column, torch.int64, (text.step.length,)) for text in self.texts]
        found += [Given(tensor.name, _dtype(tensor), tuple(tensor.shape or ())) for tensor in self.tensors]
        alone = len(found) == 1 and not self.words and not self.texts
        return [Given("input", found[0].dtype, found[0].shape)] if alone else found

    def frame(self, given: Sequence[Tensor]) -> GraphFrame:
        """Return what the tensors of `given` hold as columns, tensors with their channels first."""
        rest = list(given)
        numbers = rest.pop(0) if self.numbers else None
        codes = rest.pop(0) if self.words else None
        words = {
            name: Words(codes[:, place], known)
            for place, (name, known) in enumerate(self.words.items())
            if codes is not None
        }
        texts = {text.column: rest.pop(0) for text in self.texts}
        tensors = {tensor.name: self._laid_out(rest.pop(0), tuple(tensor.shape or ())) for tensor in self.tensors}
        order = tuple(column.name for column in self.features.columns)
        return GraphFrame(order, self.numbers, numbers, words, {**texts, **tensors})

    def _laid_out(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        if moves_channels(shape, self.features.layout):
            values = values.movedim(-1, 1)
        return values.reshape(-1, *laid_out_shape(shape, self.features.layout))


def _texts(features: Features) -> list[Text]:
    """Return the columns of text whose first step cuts them into tokens."""
    touched, found = set[str](), []
    for step, state in features.steps:
        for name in state["columns"]:
            if isinstance(step, Tokenize) and name not in touched:
                found.append(Text(name, step, tuple(state["columns"][name])))
            touched.add(name)
    order = [column.name for column in features.columns]
    return sorted(found, key=lambda text: order.index(text.column))


def _known(features: Features, name: str) -> tuple[str, ...]:
    found = [step.words(state).get(name, []) for step, state in features.steps]
    return tuple(dict.fromkeys(word for words in found for word in words))


def _dtype(tensor: ColumnProfile) -> torch.dtype:
    return torch.float32 if tensor.dtype in EXACT_IN_FLOAT32 else torch.float64


def described(inputs: GraphInputs) -> list[dict[str, Any]]:
    """Return as JSON values what the tensors of a graph of torch are."""
    return [_described(inputs, given) for given in inputs.given]


def _described(inputs: GraphInputs, given: Given) -> dict[str, Any]:
    about: dict[str, Any] = {"name": given.name, "dtype": str(given.dtype).removeprefix("torch.")}
    about["shape"] = ["rows", *given.shape]
    text = next((text for text in inputs.texts if text.column == given.name), None)
    if inputs.words and given.name == CODES:
        of_column = {"unknown": UNKNOWN, "missing": MISSING}
        about["columns"] = {name: {"codes": list(known), **of_column} for name, known in inputs.words.items()}
    elif text is not None:
        about["tokens"] = tokens_of(text)
    elif inputs.numbers and given.dtype == torch.float64 and given.shape == (len(inputs.numbers),):
        about["columns"] = list(inputs.numbers)
    return about


def tokens_of(text: Text) -> dict[str, Any]:
    """Return as JSON values how a text becomes tokens, and these ids."""
    step = text.step
    return {
        "level": step.level, "lowercase": step.lowercase, "pad": step.pad, "length": step.length,
        "padding": PADDING, "unknown": UNKNOWN_TOKEN, "first": FIRST, "vocabulary": list(text.vocabulary),
    }  # fmt: skip
