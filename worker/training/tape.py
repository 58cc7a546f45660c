"""Writing down which of torch's operations a computation runs, while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

MOST_CALLS = 20_000
"""Longer computations are not written down: the source of their program would take longer to read than it saves."""
UNREPEATABLE = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.nondeterministic_seeded)
"""What an operation must not be: one that looks at values to decide what comes next, or that draws by itself."""
CREATORS = {
    "arange", "full", "full_like", "new_full", "new_ones", "new_zeros", "ones", "ones_like", "scalar_tensor", "zeros",
    "zeros_like",
}  # fmt: skip
"""Operations whose values follow from shapes and from numbers that were written down."""
KEPT_VALUES = 1 << 16
"""What creators give is kept up to so many values."""


class Value(NamedTuple):
    """A tensor, by the number that it has on the tape."""

    number: int


class Call(NamedTuple):
    """One operation; tensors among the arguments are `Value`s. `several`: it gives a list, not one tensor."""

    operation: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[int | None, ...]
    several: bool

    @property
    def name(self) -> str:
        """Name of the operation, without its overload."""
        return self.operation._schema.name.removeprefix("aten::")

    @property
    def changes(self) -> bool:
        """True when it writes into what it is given. The schema of batch normalisation keeps that to itself."""
        return self.operation._schema.is_mutable or "batch_norm" in self.name

    @property
    def looks(self) -> bool:
        """True when what it gives is another look at the memory of what it is given."""
        return self.operation.is_view or "unsafe" in self.name

    def used(self) -> Iterator[int]:
        """Yield the numbers of the tensors that it takes."""
        for item in (*self.args, *self.kwargs.values()):
            yield from numbers_in(item)

    def written(self) -> Iterator[int]:
        """Yield the numbers of the tensors that it says it writes into."""
        for place, argument in enumerate(self.operation._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                by_place = self.args[place] if place < len(self.args) else None
                yield from numbers_in(self.kwargs.get(argument.name, by_place))


def numbers_in(item: Any) -> Iterator[int]:
    """Yield the numbers of the values in an argument, which may be a list of them."""
    for one in item if isinstance(item, list | tuple) and not isinstance(item, Value) else (item,):
        if isinstance(one, Value):
            yield one.number


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives it no types
    """Below autograd: forward and backward pass look alike, and nothing of either is missed.

    Tensors are followed by identity. One that nobody told of and no operation gave is a constant. `refusal` says why
    what was run cannot be run again from the tape alone; None: it can.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch gives it no types
        self.calls: list[Call] = []
        self.constants: dict[int, Tensor] = {}
        self.created: dict[int, Tensor] = {}  # what creators gave
        self.refusal: str | None = None
        self._numbers = WeakTensorKeyDictionary()
        self._count = 0
        self._asleep = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # There is no compiler to keep out, and keeping it out takes four seconds of imports.
        return False

    def tell(self, tensor: Tensor) -> int:
        """Take in a tensor that the computation is given; return its number."""
        return self._numbered(tensor)

    def number(self, tensor: Tensor) -> int:
        """Return the number of a tensor; one never seen gets a new one, as a constant."""
        known = self._numbers.get(tensor)  # type: ignore[no-untyped-call]  # torch gives it no types
        if known is not None:
            return int(known)
        if self._shares_memory(tensor):
            self.refusal = "a tensor was taken from another one behind torch's back"
        found = self._numbered(tensor)
        self.constants[found] = tensor
        return found

    def _shares_memory(self, tensor: Tensor) -> bool:
        place = tensor.untyped_storage().data_ptr()
        return place != 0 and any(known.untyped_storage().data_ptr() == place for known in self._numbers)

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Write nothing down inside the block."""
        self._asleep = True
        try:
            yield
        finally:
            self._asleep = False

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and write it down."""
        kwargs = kwargs or {}
        if self._asleep or self.refusal:
            return func(*args, **kwargs)
        if any(tag in func.tags for tag in UNREPEATABLE):
            self.refusal = f"{func} depends on values"
        elif len(self.calls) >= MOST_CALLS:
            self.refusal = f"it takes more than {MOST_CALLS:,} operations"
        written = tuple(self._written(a) for a in args), {k: self._written(a) for k, a in kwargs.items()}
        found = func(*args, **kwargs)
        several = isinstance(found, list | tuple)
        results = tuple(self._result(item) for item in (found if several else [found]))
        self.calls.append(Call(func, *written, results, several))
        if self.calls[-1].name in CREATORS and results[0] is not None and found.numel() <= KEPT_VALUES:
            self.created[results[0]] = found
        return found

    def _written(self, item: Any) -> Any:
        if isinstance(item, Tensor):
            return Value(self.number(item))
        if isinstance(item, list | tuple):
            return type(item)(self._written(i) for i in item) if type(item) in (list, tuple) else item
        return item

    def _result(self, item: Any) -> int | None:
        if not isinstance(item, Tensor):
            if isinstance(item, list | tuple):
                self.refusal = "an operation gave lists in a list"
            return None
        known = self._numbers.get(item)  # type: ignore[no-untyped-call]  # torch gives it no types
        return self._numbered(item) if known is None else int(known)

    def _numbered(self, tensor: Tensor) -> int:
        number = self._count
        self._count += 1
        self._numbers[tensor] = number
        return number
