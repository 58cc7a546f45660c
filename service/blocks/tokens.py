"""Text to token ids."""

import re
from collections import Counter
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from service.blocks.base import Strict
from service.blocks.preprocessing import Preprocessing
from service.data.frame import Column, Fact, Facts, Frame, Frames
from service.data.graph_frame import GraphFrame
from service.errors import InvalidInput, NotExportable, Problem

PADDING, UNKNOWN, FIRST = 0, 1, 2
WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]")
"""A word, with apostrophes inside, or a single mark."""


class Vocabularies(Strict):
    """What tokenizing learns: the tokens of each column, in the order of their ids."""

    columns: dict[str, Annotated[list[str], Field(min_length=1)]]


class Tokenize(Preprocessing):
    """Text to `length` token ids: 0 pads, 1 is any token that the vocabulary lacks, the others stand for one each.

    The vocabulary are the most frequent tokens of the training rows. A missing text is an empty one. Behind it
    belongs an `embedding`, whose `input_dim` may stay "auto".
    """

    type: Literal["tokenize"] = "tokenize"
    learned = Vocabularies
    fills = True
    length: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Ids of a text; of a longer one the first."""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Most tokens of the vocabulary."""
    min_frequency: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """How often a token stands in the training rows, at least, to be in the vocabulary."""
    level: Literal["word", "character"] = "word"
    """What a token is: a word or a mark, or a single character."""
    lowercase: bool = True
    """Whether large letters count as small ones."""
    pad: Literal["after", "before"] = "after"
    """Where ids of 0 stand in a short text."""

    def suits(self, fact: Fact) -> bool:
        """Tell whether the column holds text."""
        return fact.kind == "category"

    def refusal(self, name: str, facts: Facts) -> str | None:
        """Refuse what is no text."""
        return None if facts[name].kind == "category" else "holds numbers, not text"

    def plan(self, facts: Facts) -> Facts:
        """A column becomes a vector of ids, in the same place."""
        made = Fact("tensor", (self.length,), indicator=True, vocabulary=self.max_tokens + FIRST)
        return facts | dict.fromkeys(self.chosen(facts), made)

    def fit(self, frames: Frames, facts: Facts) -> dict[str, Any]:
        """Learn the vocabulary of each column: the most frequent first, of equally frequent ones in their order."""
        seen: dict[str, Counter[str]] = {name: Counter() for name in self.chosen(facts)}
        for frame in frames if seen else ():
            for name, counts in seen.items():
                counts.update(token for text in frame[name].values.tolist() for token in self.tokens(text))
        state = {}
        for name, counts in seen.items():
            if not counts:
                raise InvalidInput([Problem("", f"column {name!r} has no words in the training rows", got=name)])
            often = [token for token, count in counts.items() if count >= self.min_frequency]
            state[name] = sorted(often, key=lambda token: (-counts[token], token))[: self.max_tokens]
        return {"columns": state}

    def apply(self, frame: Frame, state: dict[str, Any]) -> Frame:
        """Set the ids."""
        return frame | {name: self._coded(frame[name], words) for name, words in state["columns"].items()}

    def in_graph(self, frame: GraphFrame, state: dict[str, Any]) -> GraphFrame:
        """Return the frame as it is: a graph is given the ids, or looks up tokens that it is given.

        To cut text into tokens there is no operation.
        """
        for name in state["columns"]:
            if name not in frame.tensors:
                message = f"column {name!r} is changed before it is cut into tokens, which happens outside of the graph"
                raise NotExportable([Problem("", message, self.type)])
        return frame

    def _coded(self, column: Column, words: list[str]) -> Column:
        places = {word: i for i, word in enumerate(words, FIRST)}
        texts = column.values.tolist()
        ids = np.full((len(texts), self.length), PADDING, np.int32)
        for row, text in enumerate(texts):
            found = [places.get(token, UNKNOWN) for token in self.tokens(text)[: self.length]]
            if found:
                ids[row, slice(len(found)) if self.pad == "after" else slice(-len(found), None)] = found
        return Column("tensor", ids, True)

    def tokens(self, text: str | None) -> list[str]:
        """Return the tokens of a text, in their order."""
        if not text:
            return []
        text = text.lower() if self.lowercase else text
        return list(text) if self.level == "character" else WORD.findall(text)
