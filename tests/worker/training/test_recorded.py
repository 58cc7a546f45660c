"""Functions that are written down and replayed: what a replay does, what it leaves out, and what is refused."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from service.blocks.dropout import DropoutModule
from service.blocks.noise import StepNoise, set_noise
from worker.training import recorded, tape
from worker.training.program import compile_tape
from worker.training.recorded import Noisy, Recorded, Results
from worker.training.tape import Tape


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    recorded.forget()
    yield
    recorded.forget()


class Watched:
    """A function that counts how often it is really called."""

    def __init__(self, function: Callable[..., Results]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *given: Tensor) -> Results:
        self.calls += 1
        return self.function(*given)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def several(x: Tensor, y: Tensor) -> Results:
    """Lists, views, work in place, constants, arguments by name, results that nobody uses."""
    first, second = x.chunk(2, dim=1)
    sums = torch.zeros(len(x), 2)
    sums.add_(first).mul_(torch.tensor(2.0))
    top, _ = torch.max(second, dim=1)
    both = torch.cat([sums, second.t().t() * torch.arange(2)], dim=1)
    both[:, 1] = top
    return both.clamp(max=1.5), None, functional.layer_norm(both, (4,)), (y @ y.t()).sum(dtype=torch.float64)


def test_a_replay_gives_what_the_function_gives_for_other_values() -> None:
    watched = Watched(several)
    function = Recorded(watched, [], "several")
    for seed in range(3):
        given = numbers(5, 4, seed=seed), numbers(3, 2, seed=seed + 10)
        for a, b in zip(function("key", *given), several(*given), strict=True):
            assert (a is None and b is None) or torch.equal(a, b)  # type: ignore[arg-type]
    assert watched.calls == 1 and function.replays


def test_weights_that_change_in_place_are_seen_and_changed() -> None:
    weight, mean = numbers(3, 4), torch.zeros(3)

    def run(x: Tensor) -> Results:
        out = x @ weight.t()
        mean.lerp_(out.mean(0), 0.5)
        return (out,)

    function = Recorded(Watched(run), [weight, mean], "moving mean")
    function(0, numbers(2, 4))
    weight.mul_(2)
    before, x = mean.clone(), numbers(2, 4, seed=1)
    (out,) = function(0, x)
    assert out is not None and torch.equal(out, x @ weight.t())
    assert torch.equal(mean, before.lerp(out.mean(0), 0.5))


def test_a_gradient_is_replayed_without_autograd() -> None:
    weight = nn.Parameter(numbers(3, 4))

    def run(x: Tensor) -> Results:
        with torch.enable_grad():
            loss = torch.tanh(x @ weight.t()).square().sum()
        return loss.detach(), *torch.autograd.grad(loss, [weight])

    function = Recorded(Watched(run), [weight], "gradient of a tanh")
    with torch.no_grad():
        function(0, numbers(5, 4))
        x = numbers(5, 4, seed=1)
        found, expected = function(0, x), run(x)
    for a, b in zip(found, expected, strict=True):
        assert a is not None and torch.equal(a, b) and not a.requires_grad  # type: ignore[arg-type]


def test_another_shape_is_recorded_by_itself_and_a_known_one_never_again() -> None:
    first, second = (Watched(lambda x: (x.sum(0) * len(x),)) for _ in range(2))
    one = Recorded(first, [], "sum")
    for rows in (4, 4, 7, 7, 4):
        (found,) = one(rows, torch.ones(rows, 2))
        assert found is not None and found.tolist() == [rows**2] * 2
    assert first.calls == 2
    other = Recorded(second, [], "sum")
    assert other(4, torch.ones(4, 2))[0].tolist() == [16, 16]  # type: ignore[union-attr]
    assert second.calls == 0
    Recorded(second, [], "sum of others")(4, torch.ones(4, 2))
    assert second.calls == 1


def test_programs_are_kept_for_the_last_used_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "KEPT_PROGRAMS", 2)
    calls = []
    for name in ("a", "b", "a", "c", "a", "b"):
        watched = Watched(lambda x: (x + 1,))
        Recorded(watched, [], name)(0, torch.ones(1))
        calls.append(watched.calls)
    assert calls == [1, 1, 0, 1, 0, 1]


def test_noise_is_drawn_anew_for_every_replay() -> None:
    module, noise = DropoutModule(0.5), StepNoise(3, 0, torch.device("cpu"))
    set_noise(module, noise)
    function = Recorded(lambda x: (module(x),), [], "dropout", Noisy(module, noise))
    seen = []
    for step in range(4):
        noise.step = step
        (found,) = function(0, torch.ones(8, 8))
        noise.step = step
        assert found is not None and torch.equal(found, module(torch.ones(8, 8)))
        seen.append(found)
    assert not any(torch.equal(a, b) for a, b in pairwise(seen))


def hidden(x: Tensor) -> Results:
    return (torch.from_numpy((x * 2).numpy()).add(1),)


REFUSED: dict[str, Callable[[Tensor], Results]] = {
    "a value that decides": lambda x: (x * x.sum().item(),),
    "a shape that depends on values": lambda x: (x[x > 0].sum(),),
    "numbers drawn from nowhere": lambda x: (x + torch.rand(3),),
    "a tensor that went through numpy": hidden,
    "a constant that is written into": lambda x: (CONSTANT.add_(1) + x,),
}
CONSTANT = torch.zeros(3)


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_replayed_runs_every_time(why: str) -> None:
    watched = Watched(REFUSED[why])
    function = Recorded(watched, [], why)
    for number in range(3):
        x = torch.full((3,), 1.0 + number)
        before = CONSTANT.clone()
        (found,) = function(0, x)
        CONSTANT.copy_(before)
        if "nowhere" not in why:
            assert found is not None and torch.equal(found, REFUSED[why](x)[0])  # type: ignore[arg-type]
    assert watched.calls == 3 and not function.replays


def test_what_is_too_long_runs_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tape, "MOST_CALLS", 5)
    watched = Watched(lambda x: (x + 1 + 1 + 1 + 1 + 1 + 1,))
    function = Recorded(watched, [], "long")
    assert [function(0, torch.zeros(1))[0].item() for _ in range(2)] == [6, 6]  # type: ignore[union-attr]
    assert watched.calls == 2


def test_a_program_leaves_out_what_need_not_be_done() -> None:
    weight = nn.Parameter(numbers(3, 4))
    written = Tape()
    held = [written.tell(weight)]
    x = numbers(2, 4)
    given = [written.tell(x)]
    with written:
        out = x @ weight.t()
        _idle = out.exp().sum()
        (gradient,) = torch.autograd.grad(out.mean(), [weight])
    program = compile_tape(written, held, given, [written.number(gradient)])
    assert program is not None
    # The mean's own gradient, 1/6 everywhere, is a constant; what is left is one product.
    (constant,) = program.constants
    torch.testing.assert_close(constant, torch.full((3, 2), 1 / 6))
    (found,) = program.bind([weight])(x)
    assert found is not None and torch.equal(found, gradient)
