"""Operations as Python source: what replays a step, read once and called ten thousand times."""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from worker.training.tape import Call, Value, numbers_in

Replay = Callable[..., tuple[Tensor | None, ...]]
NAMED = {
    "_log_softmax.default", "_log_softmax_backward_data.default", "_softmax.default", "_softmax_backward_data.default",
    "add.Tensor", "addmm.default", "bmm.default", "convolution.default", "div.Tensor", "exp.default", "mean.default",
    "mm.default", "mul.Tensor", "native_batch_norm.default", "neg.default", "relu.default", "sigmoid.default",
    "sub.Tensor", "sum.default", "sum.dim_IntList", "t.default", "tanh.default", "transpose.int",
}  # fmt: skip
"""Overloads that are called by their names in `torch`, which takes half the time of calling the overloads."""
METHODS = {"expand.default", "view.default"}
"""Those that are called by the names of tensors' methods, for the same reason."""


def source_of(
    calls: Sequence[Call], held: Sequence[int], given: Sequence[int], results: Sequence[int | None]
) -> Callable[..., Replay]:
    """Return a function of the `held` tensors that returns one of the `given` tensors, which runs the calls.

    What only looks at held tensors is done when they are given. Everything is let go after its last use.
    """
    return _Source(calls, held, given, results).function()


class _Source:
    def __init__(
        self, calls: Sequence[Call], held: Sequence[int], given: Sequence[int], results: Sequence[int | None]
    ) -> None:
        self._names: dict[str, Any] = {}
        self._known: dict[Any, str] = {}
        self._wanted = {number for call in calls for number in call.used()} | {n for n in results if n is not None}
        self._staying = set(held)
        first, rest = [], []
        for call in calls:
            if call.looks and not call.changes and self._staying.issuperset(call.used()):
                self._staying.update(number for number in call.results if number is not None)
                first.append(call)
            else:
                rest.append(call)
        body = self._body(rest, results)
        values = "".join("None, " if number is None else f"v{number}, " for number in results)
        lines = [
            f"def make({_list(held)}):",
            *[f"    {self._line(call)}" for call in first],
            f"    def replay({_list(given)}):",
            *[f"        {line}" for line in body],
            f"        return ({values})",
            "    return replay",
        ]
        self.text = "\n".join(lines)

    def function(self) -> Callable[..., Replay]:
        """Return `make` of the source."""
        exec(compile(self.text, "<a traced step>", "exec"), self._names)
        make: Callable[..., Replay] = self._names["make"]
        return make

    def _body(self, calls: Sequence[Call], results: Sequence[int | None]) -> list[str]:
        last = {number: place for place, call in enumerate(calls) for number in (*call.used(), *call.results)}
        over: dict[int, list[str]] = {}
        for number, place in last.items():
            local = number is not None and number not in self._staying and number not in results
            if local and number in self._wanted:
                over.setdefault(place, []).append(f"v{number}")
        lines = []
        for place, call in enumerate(calls):
            lines.append(self._line(call))
            if place in over:
                lines.append(f"del {', '.join(over[place])}")
        return lines

    def _line(self, call: Call) -> str:
        arguments = [self._written(item) for item in call.args]
        arguments += [f"{key}={self._written(item)}" for key, item in call.kwargs.items()]
        line = f"{self._function(call)}({', '.join(arguments)})"
        fresh = [n if n in self._wanted and n not in set(call.used()) else None for n in call.results]
        if all(number is None for number in fresh):
            return line
        if not call.several:
            return f"v{fresh[0]} = {line}"
        if fresh.count(None) == len(fresh) - 1:
            place = next(place for place, number in enumerate(fresh) if number is not None)
            return f"v{fresh[place]} = {line}[{place}]"
        targets = ", ".join("_" if number is None else f"v{number}" for number in fresh)
        return f"{targets}, = {line}" + ("; del _" if None in fresh else "")

    def _function(self, call: Call) -> str:
        known = f"{call.name}.{call.operation._overloadname}"
        fast = getattr(torch if known in NAMED else Tensor, call.name) if known in NAMED | METHODS else None
        return self._name(known, fast or call.operation._op)

    def _written(self, item: Any) -> str:
        if isinstance(item, Value):
            return f"v{item.number}"
        if isinstance(item, list | tuple) and any(True for _ in numbers_in(item)):
            return f"[{', '.join(map(self._written, item))}]"
        if item is None or isinstance(item, bool | int) or (isinstance(item, float) and isfinite(item)):
            return repr(item)
        if type(item) is list and all(type(i) in (int, bool) for i in item):
            return repr(item)
        return self._name((type(item), str(item)), item)

    def _name(self, key: Any, value: Any) -> str:
        name = self._known.setdefault(key, f"k{len(self._known)}")
        self._names[name] = value
        return name


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(f"v{number}" for number in numbers)
