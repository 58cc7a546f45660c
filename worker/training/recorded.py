"""Functions of tensors that are run once, written down, and replayed from then on."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from service.blocks.noise import Noise, set_noise
from worker.training.program import Program, compile_tape
from worker.training.source import Replay
from worker.training.tape import Tape

KEPT_PROGRAMS = 64
Results = Sequence[Tensor | None]
Function = Callable[..., Results]


class Draw(NamedTuple):
    """What a stochastic layer asked its noise for; without a rate it asked for bits."""

    key: int
    shape: tuple[int, ...]
    rate: float | None

    def of(self, noise: Noise) -> Tensor:
        """Return what the noise has for it now."""
        if self.rate is None:
            return noise.bits(self.key, self.shape)
        return noise.mask(self.key, self.shape, self.rate)


class Heard(Noise):
    """Passes on what a noise gives, and tells a tape of it: random values are no constants, and no operations."""

    def __init__(self, noise: Noise, tape: Tape) -> None:
        self._noise, self._tape = noise, tape
        self.draws: list[Draw] = []
        self.numbers: list[int] = []

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        return self._pass_on(Draw(key, shape, None))

    def mask(self, key: int, shape: tuple[int, ...], rate: float) -> Tensor:
        return self._pass_on(Draw(key, shape, rate))

    def _pass_on(self, draw: Draw) -> Tensor:
        with self._tape.asleep():
            # A look of its own: the same values asked for twice are two given tensors.
            drawn = draw.of(self._noise).detach()
        self.draws.append(draw)
        self.numbers.append(self._tape.tell(drawn))
        return drawn


@dataclass(frozen=True)
class _Kept:
    program: Program
    draws: Sequence[Draw]


@dataclass(frozen=True)
class Noisy:
    """A network, and the noise that it has."""

    network: nn.Module
    noise: Noise

    @contextmanager
    def heard(self, tape: Tape) -> Iterator[Heard]:
        """Have the tape told of the noise inside the block."""
        heard = Heard(self.noise, tape)
        set_noise(self.network, heard)
        try:
            yield heard
        finally:
            set_noise(self.network, self.noise)


_programs: OrderedDict[Hashable, _Kept | None] = OrderedDict()
"""By what was recorded: a process that trains the same network again need not run it again to know it."""


class Recorded:
    """A function of tensors whose operations depend on shapes, not on values.

    The first call with a key runs it and writes it down; later ones replay what was written, bit for bit, without
    autograd and the Python around it. A function that cannot be replayed, because an operation of it looks at values
    or because there are too many (`worker/training/tape.py`), is run as it is every time.

    `held` are the tensors that it reads and writes beside those it is given; they stay where they are. `identity` says
    what it computes: functions with the same one do the same. Without `records` it is run as it is.
    """

    def __init__(
        self,
        function: Function,
        held: Sequence[Tensor],
        identity: Hashable,
        noisy: Noisy | None = None,
        records: bool = True,
    ) -> None:
        self._function, self._held, self._identity, self._noisy = function, held, identity, noisy
        self._records = records
        self._ready: dict[Hashable, tuple[Replay, Sequence[Draw]] | None] = {}

    def __call__(self, key: Hashable, *given: Tensor) -> Results:
        """Return what the function gives for these tensors; the same key stands for the same shapes."""
        if key not in self._ready:
            return self._first(key, given)
        ready = self._ready[key]
        if ready is None:
            return self._function(*given)
        replay, draws = ready
        if not draws or self._noisy is None:
            return replay(*given)
        bits, mask = self._noisy.noise.bits, self._noisy.noise.mask
        drawn = [bits(key, shape) if rate is None else mask(key, shape, rate) for key, shape, rate in draws]
        return replay(*given, *drawn)

    @property
    def replays(self) -> bool:
        """True when it was called, and every further call like those so far is a replay."""
        return bool(self._ready) and None not in self._ready.values()

    def _first(self, key: Hashable, given: Sequence[Tensor]) -> Results:
        if not self._records:
            self._ready[key] = None
            return self._function(*given)
        whole = (self._identity, key, _outside(self._held), _outside(given))
        if whole in _programs:
            _programs.move_to_end(whole)
            self._keep(key, _programs[whole])
            return self(key, *given)
        results, kept = self._record(given)
        _programs[whole] = kept
        if len(_programs) > KEPT_PROGRAMS:
            _programs.popitem(last=False)
        self._keep(key, kept)
        return results

    def _keep(self, key: Hashable, kept: _Kept | None) -> None:
        self._ready[key] = None if kept is None else (kept.program.bind(self._held), kept.draws)

    def _record(self, given: Sequence[Tensor]) -> tuple[Results, _Kept | None]:
        tape = Tape()
        numbers = [[tape.tell(tensor) for tensor in tensors] for tensors in (self._held, given)]
        draws: Sequence[Draw] = ()
        if self._noisy is None:
            with tape:
                results = self._function(*given)
        else:
            with self._noisy.heard(tape) as heard, tape:
                results = self._function(*given)
            numbers[1] += heard.numbers
            draws = heard.draws
        named = [None if result is None else tape.number(result) for result in results]
        program = compile_tape(tape, numbers[0], numbers[1], named)
        return results, None if program is None else _Kept(program, draws)


def forget() -> None:
    """Forget every program: the next calls record again."""
    _programs.clear()


def _outside(tensors: Sequence[Tensor]) -> Hashable:
    return tuple((t.shape, t.stride(), t.dtype, t.device.type, t.requires_grad) for t in tensors)
