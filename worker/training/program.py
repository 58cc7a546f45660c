"""A tape as a Python function: the same operations in the same order, without what need not be done every time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from worker.training.source import Replay, source_of
from worker.training.tape import KEPT_VALUES, Call, Tape, Value

LOOKS_AT_GRAD_MODE = {"mkldnn_rnn_layer"}


@dataclass(frozen=True)
class Program:
    """What a tape says: `bind` it to the tensors that stay, call the result with those that change."""

    make: Callable[..., Replay]
    constants: Sequence[Tensor] = field(repr=False)
    in_grad_mode: bool
    """Whether an operation gives what its backward pass needs only where autograd is on."""

    def bind(self, held: Sequence[Tensor]) -> Replay:
        """Return the function of the tensors that change, over those that stay where they are: weights, statistics."""
        with torch.no_grad():
            replay = self.make(*[tensor.detach() for tensor in held], *self.constants)
        return torch.enable_grad()(replay) if self.in_grad_mode else replay


def compile_tape(
    tape: Tape, held: Sequence[int], given: Sequence[int], results: Sequence[int | None]
) -> Program | None:
    """Return the program of a tape, None where it has none; `results` are the numbers of what it is to give.

    Operations stay in their order. Left out are those that only name a tensor anew, and those that nobody uses;
    those that look at weights without reading them, and those of constants, are done once.
    """
    constants = dict(tape.constants)
    calls, same = _without_names(tape.calls)
    results = [None if number is None else same.get(number, number) for number in results]
    written = _written(calls, results)
    if tape.refusal or not written.isdisjoint(constants):
        return None
    calls = _without_constants(_without_idle(calls, results), constants, tape.created, written)
    calls = _without_idle(calls, results)
    used = {number for call in calls for number in call.used()} | set(results)
    constants = {number: tensor for number, tensor in constants.items() if number in used}
    make = source_of(calls, [*held, *constants], given, results)
    return Program(make, list(constants.values()), any(call.name in LOOKS_AT_GRAD_MODE for call in calls))


def _without_names(calls: Sequence[Call]) -> tuple[list[Call], dict[int, int]]:
    """Drop what gives a tensor that is there: `detach`, and the second of two transpositions; return who is who."""
    same: dict[int, int] = {}
    turned: dict[int, int] = {}
    kept = []
    for call in calls:
        call = _renamed(call, same)
        source, result = next(call.used(), None), call.results[0] if call.results else None
        if source is None or result is None:
            kept.append(call)
        elif call.name in ("detach", "alias"):
            same[result] = source
        elif call.name == "t" and source in turned:
            same[result] = turned[source]
        else:
            if call.name == "t":
                turned[result] = source
            kept.append(call)
    return kept, same


def _renamed(call: Call, same: dict[int, int]) -> Call:
    def rename(item: Any) -> Any:
        if isinstance(item, Value):
            return Value(same.get(item.number, item.number))
        return type(item)(rename(i) for i in item) if type(item) in (list, tuple) else item

    results = tuple(None if number is None else same.get(number, number) for number in call.results)
    args, kwargs = tuple(map(rename, call.args)), {key: rename(item) for key, item in call.kwargs.items()}
    return call._replace(args=args, kwargs=kwargs, results=results)


def _written(calls: Sequence[Call], results: Sequence[int | None]) -> set[int]:
    """Return the numbers of all that is written into, seen through views or not; results may be, later."""
    roots: dict[int, int] = {}
    found: set[int] = set()
    for call in calls:
        found.update(roots.get(number, number) for number in call.written())
        source = next(call.used(), None)
        if call.looks and source is not None:
            roots.update({result: roots.get(source, source) for result in call.results if result is not None})
    found.update(roots.get(number, number) for number in results if number is not None)
    return found | {number for number, root in roots.items() if root in found}


def _without_idle(calls: Sequence[Call], results: Sequence[int | None]) -> list[Call]:
    wanted = set(results) - {None}
    kept = []
    for call in reversed(calls):
        if call.changes or not wanted.isdisjoint(call.results):
            wanted.update(call.used())
            kept.append(call)
    return kept[::-1]


@torch.no_grad()
def _without_constants(
    calls: Sequence[Call], constants: dict[int, Tensor], created: dict[int, Tensor], written: set[int]
) -> list[Call]:
    """Add to the constants what follows from them or from shapes alone, and that nobody writes into."""
    kept = []
    for call in calls:
        used, result = list(call.used()), call.results[0]
        known = not call.several and result not in written and not call.changes
        if result is None or not known:
            kept.append(call)
        elif result in created:
            constants[result] = created[result]
        elif used and all(number in constants for number in used):
            found = _run(call, constants)
            if found.numel() > KEPT_VALUES:
                kept.append(call)
            else:
                constants[result] = found
        else:
            kept.append(call)
    return kept


def _run(call: Call, constants: dict[int, Tensor]) -> Any:
    def value(item: Any) -> Any:
        if isinstance(item, Value):
            return constants[item.number]
        return type(item)(value(i) for i in item) if type(item) in (list, tuple) else item

    return call.operation(*map(value, call.args), **{key: value(item) for key, item in call.kwargs.items()})
