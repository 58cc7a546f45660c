"""Rows to hold an exported file against the service on: drawn from what is known of the columns, always the same."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from service.data.profile import ColumnProfile
from service.export.inputs import GraphInputs, Text
from service.predict.cache import LoadedModel
from service.randomness import derive

ROWS = 32
MOST_VALUES = 200_000
"""Numbers in all rows together, at most."""
MISSING_EVERY = 5
"""Every so many-th value that a step fills in is missing."""


def specimens(loaded: LoadedModel, inputs: GraphInputs, columns: Sequence[ColumnProfile]) -> list[list[Any]]:
    """Return rows as a client would send them, in the order of the columns."""
    known = {column.name: column for column in columns}
    profiles = [known[column.name] for column in loaded.features.columns]
    values = sum(prod(profile.shape or (1,)) for profile in profiles)
    least = MISSING_EVERY if loaded.features.fillable else 1
    count = max(least, min(ROWS, MOST_VALUES // max(1, values)))
    source = np.random.Generator(np.random.Philox(derive(0, "specimens")))
    drawn = [_column(profile, inputs, count, source) for profile in profiles]
    for place, profile in enumerate(profiles):
        if profile.name in loaded.features.fillable and profile.type != "tensor":
            drawn[place] = [
                None if row % MISSING_EVERY == place % MISSING_EVERY else value
                for row, value in enumerate(drawn[place])
            ]
    return [list(row) for row in zip(*drawn, strict=True)]


def _column(profile: ColumnProfile, inputs: GraphInputs, count: int, source: np.random.Generator) -> list[Any]:
    if profile.type == "category":
        text = next((text for text in inputs.texts if text.column == profile.name), None)
        if text is not None:
            return [_text(text, source) for _ in range(count)]
        words = [str(value) for value in profile.values or ()] or list(inputs.words.get(profile.name, ()))
        return [words[i] for i in source.integers(0, len(words), count)] if words else ["a"] * count
    if profile.type == "boolean":
        found: list[Any] = (source.integers(0, 2, count) > 0).tolist()
        return found
    low = 0.0 if profile.min is None else profile.min
    high = low + 1.0 if profile.max is None else profile.max
    # Not high - low: near the ends of float64 that has no value.
    shares = source.random((count, *(profile.shape or ())))
    numbers = low * (1.0 - shares) + high * shares
    whole = profile.type == "integer" or (profile.dtype or "float").lstrip("u").startswith(("int", "bool"))
    found = (numbers.round() if whole else numbers).tolist()
    return found


def _text(text: Text, source: np.random.Generator) -> str:
    """Return a text of some tokens that the vocabulary has, and one that it may lack."""
    words = [text.vocabulary[i] for i in source.integers(0, len(text.vocabulary), 1 + int(source.integers(0, 6)))]
    return ("" if text.step.level == "character" else " ").join([*words, "\N{SNOWMAN}"])
