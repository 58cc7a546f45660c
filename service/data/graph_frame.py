"""Columns as the tensors of a graph that leaves the house: what preprocessing works on in exported models.

A frame of this kind holds no rows but stands for any: its tensors are those that `torch.export` follows. Where the
service refuses a row, because a value is unknown or has no logarithm, the graph carries on with NaN, and whoever
made the frame sees to it that the row's answer is NaN, too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

UNKNOWN, MISSING = -1, -2
"""Codes of a word that no step knows, and of none at all."""


@dataclass(frozen=True)
class Words:
    """A column of text: int64 [rows], for each word its place among those that are `known`, `UNKNOWN` or `MISSING`."""

    codes: Tensor
    known: tuple[str, ...]


@dataclass(frozen=True)
class GraphFrame:
    """Columns by kind. All numbers stand in one matrix, so that a step is one operation however many there are.

    `numbers` is float64 [rows, len(named)], NaN where missing, its columns those of `named`; `tensors` are
    [rows, *shape]. `order` is how the columns follow one another.
    """

    order: tuple[str, ...]
    named: tuple[str, ...]
    numbers: Tensor | None
    words: Mapping[str, Words]
    tensors: Mapping[str, Tensor]

    def picked(self, names: Sequence[str]) -> Tensor:
        """Return number columns, float64 [rows, len(names)]."""
        assert self.numbers is not None
        return self._chosen([self.named.index(name) for name in names], self.numbers)

    @staticmethod
    def _chosen(places: Sequence[int], matrix: Tensor) -> Tensor:
        if list(places) == list(range(matrix.shape[1])):
            return matrix
        return matrix.index_select(1, torch.tensor(places))

    def with_numbers(self, names: Sequence[str], values: Tensor) -> "GraphFrame":
        """Return the frame with number columns, [rows, len(names)], in the place of those of these names, or behind."""
        rest = [name for name in self.named if name not in names]
        parts = [self.picked(rest), values] if rest else [values]
        return replace(
            self,
            order=tuple(dict.fromkeys([*self.order, *names])),
            named=(*rest, *names),
            numbers=torch.cat(parts, dim=1) if rest else values,
        )

    def with_tensor(self, name: str, values: Tensor) -> "GraphFrame":
        """Return the frame with a tensor, [rows, *shape], in the place of the column of this name, or behind."""
        bare = self.without([name])
        return replace(bare, order=tuple(dict.fromkeys([*self.order, name])), tensors={**bare.tensors, name: values})

    def with_words(self, name: str, words: Words) -> "GraphFrame":
        """Return the frame with other words in a column of text."""
        return replace(self, words={**self.words, name: words})

    def without(self, names: Sequence[str]) -> "GraphFrame":
        """Return the frame without these columns."""
        rest = [name for name in self.named if name not in names]
        return replace(
            self,
            order=tuple(name for name in self.order if name not in names),
            named=tuple(rest),
            numbers=self.picked(rest) if rest else None,
            words={name: words for name, words in self.words.items() if name not in names},
            tensors={name: values for name, values in self.tensors.items() if name not in names},
        )

    def scaled(self, constants: Mapping[str, tuple[Tensor, Tensor]]) -> "GraphFrame":
        """Return the frame with (x - shift) / scale in these columns; of tensors both broadcast over [rows, *shape].

        Numbers stay float64, tensors become float32, as in `Preprocessing.apply`.
        """
        frame, flat = self, [name for name in constants if name in self.named]
        if flat:
            shift, scale = (torch.stack([constants[name][side].reshape(()) for name in flat]) for side in (0, 1))
            frame = frame.with_numbers(flat, (self.picked(flat) - shift) / scale)
        for name, values in self.tensors.items():
            if name in constants:
                shift, scale = constants[name]
                frame = frame.with_tensor(name, ((values.double() - shift) / scale).float())
        return frame

    def mapped(self, names: Sequence[str], function: Callable[[Tensor], Tensor]) -> "GraphFrame":
        """Return the frame with a function of single numbers applied to these columns, in float64."""
        frame, flat = self, [name for name in names if name in self.named]
        if flat:
            frame = frame.with_numbers(flat, function(self.picked(flat)))
        for name, values in self.tensors.items():
            if name in names:
                frame = frame.with_tensor(name, function(values.double()).float())
        return frame

    def places(self, name: str, values: Sequence[str | float]) -> Tensor:
        """Return the place of each row's value among `values`, int64 [rows]; -1 where it is none of them."""
        if name in self.words:
            words, of = self.words[name], {value: place for place, value in enumerate(values)}
            table = torch.tensor([*(of.get(word, -1) for word in words.known), -1])
            return table[torch.where(words.codes < 0, len(words.known), words.codes)]
        # Values differ, so that at most one is equal; no number is equal to text.
        numbers = [torch.nan if isinstance(value, str) else value for value in values]
        equal = self.picked([name]) == torch.tensor(numbers, dtype=torch.float64)
        return (equal.double() * torch.arange(1.0, len(values) + 1, dtype=torch.float64)).sum(1).long() - 1

    def matrix(self, names: Sequence[str]) -> Tensor:
        """Return columns side by side, tensors flattened, float64 [rows, values]."""
        parts = [self.tensors[n].double().flatten(1) if n in self.tensors else self.picked([n]) for n in names]
        flat = all(name in self.named for name in names)
        return self.picked(names) if flat else torch.cat(parts, dim=1)

    def joined(self) -> Tensor:
        """Return what a network takes, float32: all columns side by side, or the one tensor of more axes."""
        if len(self.order) == 1 and self.order[0] in self.tensors:
            return self.tensors[self.order[0]].float()
        if len(self.order) == len(self.named):
            return self.picked(self.order).float()
        return torch.cat([part.float() for part in self._parts()], dim=1)

    def _parts(self) -> list[Tensor]:
        """Return the columns in order, numbers that follow one another together."""
        runs: list[list[str]] = []
        for name in self.order:
            if runs and name in self.named and runs[-1][-1] in self.named:
                runs[-1].append(name)
            else:
                runs.append([name])
        return [self.tensors[run[0]].flatten(1) if run[0] in self.tensors else self.picked(run) for run in runs]
