"""Which networks train as a stack, and which take turns."""

from typing import Any

import pytest
import torch

from service.blocks.schedules import Horizon
from service.spec import JobSpec
from tests.support.every_block import Case, specification
from tests.worker.packed.packs import CPU, alone, untouched
from worker.data import TrainingData
from worker.packed import choice
from worker.packed.batches import PackedBatches
from worker.packed.pack import Pack
from worker.packed.step import Together
from worker.packed.turns import ByTurns
from worker.packed.variants import replicas_of

WIDE = {
    "layers": [{"type": "dense", "units": 2000}, {"type": "dense", "units": 2000}, {"type": "dense", "units": "auto"}]
}
LSTM = {"layers": [{"type": "lstm", "units": 4}, {"type": "dense", "units": "auto"}]}
BELIEFS = {"activation": "sigmoid", "layers": [{"type": "dense", "units": 4}, {"type": "dense", "units": "auto"}]}
TURNS: dict[str, tuple[str, dict[str, Any]]] = {
    "lbfgs looks at the loss": ("table", {"optimizer": "lbfgs", "training": {"batch_size": "all"}}),
    "pre-trained": ("table", {"pretrain": "rbm", "network": BELIEFS}),
    "recurrent": ("sequences", {"network": LSTM}),
    "float16 is for one": ("table", {"training": {"precision": "float16"}}),
    "bfloat16 is for one": ("table", {"training": {"precision": "bfloat16"}}),
    "multiply-adds": ("table", {"network": WIDE}),
}


def chosen(spec: JobSpec, data: TrainingData) -> tuple[Pack, str | None, PackedBatches]:
    variants = replicas_of(spec, data, 3)
    network = variants.build(0)
    batches = PackedBatches(variants, network.has_batch_norm)
    horizon = Horizon(batches.steps, 2 * batches.steps)
    build, why = choice.builder(variants, network, untouched, CPU, horizon, batches.rows_of_batch)
    return build(variants), why, batches


@pytest.mark.parametrize("reason", TURNS)
def test_what_gains_nothing_takes_turns_and_gives_the_bits_of_jobs_alone(reason: str, loaded: Any) -> None:
    source, sections = TURNS[reason]
    spec, data = loaded(Case("turns", source, specification(source, **sections)))
    pack, why, batches = chosen(spec, data)
    assert isinstance(pack, ByTurns)
    assert why is not None and reason in why
    losses = []
    for epoch in range(2):
        pack.begin()
        pack.enter(epoch)
        losses += [pack(batch, epoch * batches.steps + n)[0] for n, batch in enumerate(batches.of(epoch))]
        pack.end()
    for place, variant in enumerate(pack.variants):
        weights, expected = alone(variant.spec, data)
        assert torch.equal(torch.stack(losses)[:, place], expected)
        assert all(torch.equal(pack.weights(place)[name], value) for name, value in weights.items())


def test_what_torch_cannot_run_for_many_takes_turns(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, data = loaded(Case("small", "table", specification("table")))
    assert isinstance(chosen(spec, data)[0], Together)

    def refuse(*_: object) -> None:
        raise RuntimeError("Batching rule not implemented for aten::new.\nWe could not generate a fallback.")

    monkeypatch.setattr(Together, "__call__", refuse)
    pack, why, _ = chosen(spec, data)
    assert isinstance(pack, ByTurns)
    assert why == "torch has no form of them for many networks: Batching rule not implemented for aten::new."


def test_memory_that_runs_out_is_no_reason_to_take_turns(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, data = loaded(Case("small", "table", specification("table")))

    def refuse(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Together, "__call__", refuse)
    with pytest.raises(RuntimeError, match="allocate"):
        chosen(spec, data)
