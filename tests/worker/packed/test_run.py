"""Jobs with replicas: what comes of them, beside jobs of one network, and interrupted anywhere."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from service.settings import Settings
from service.store import events, jobs, metrics, models
from service.store.engine import Store
from service.store.tables import Dataset
from tests.worker.runs import attempt, changed, outcome, queue, weights_of
from worker import draining
from worker.packed.run import PackedRun
from worker.packed.step import Together
from worker.packed.turns import ByTurns

REPLICAS = 4
AtStep = Callable[[int, Callable[[Any], None]], None]
TRAINING = {"epochs": 6, "batch_size": 16, "log_every_steps": 3, "seed": 3}
STOPPING = {"early_stopping": {"patience": 1, "min_delta": 0.05}}
WAYS: list[dict[str, Any]] = [
    {},
    {"regularization": STOPPING},
    {"training": {**TRAINING, "averaging": {"type": "ema", "decay": 0.9}}},
    {"optimizer": {"type": "sgd", "momentum": 0.9}, "schedule": {"type": "reduce_on_plateau", "patience": 1}},
    {"optimizer": "lbfgs", "training": {**TRAINING, "batch_size": "all", "epochs": 8, "log_every_steps": 1}},
    {"training": {**TRAINING, "precision": "float16"}},
    {"regularization": {**STOPPING, "clip_norm": 0.5}, "training": {**TRAINING, "batch_size": 8, "accumulate": 2}},
]


def replicated(**sections: Any) -> dict[str, Any]:
    return changed(replicas=REPLICAS, **{"training": TRAINING, **sections})


def lone(replica: int, **sections: Any) -> dict[str, Any]:
    spec = changed(**{"training": TRAINING, **sections})
    spec["data"]["split"] = {**spec["data"]["split"], "seed": spec["training"]["seed"]}
    spec["training"] = {**spec["training"], "seed": spec["training"]["seed"] + replica}
    return spec


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> AtStep:
    """Have something happen to the pack right before it takes a step."""

    def arrange(number: int, action: Callable[[Any], None]) -> None:
        for kind in (Together, ByTurns):

            def call(self: Any, batch: Any, step: int, original: Any = kind.__call__) -> Any:
                if step == number and len(self.variants) > 2:
                    action(self)
                return original(self, batch, step)

            monkeypatch.setattr(kind, "__call__", call)

    return arrange


def curves(store: Store, job_id: str, replica: int) -> dict[tuple[str, str, int], float | None]:
    with store.read() as session:
        rows = metrics.query(session, job_id, replica=replica)
    return {(row.split, row.name, row.step): row.value for row in rows}


@pytest.mark.parametrize("sections", WAYS, ids=str)
def test_every_replica_is_what_a_job_of_its_seed_gives(
    sections: dict[str, Any], sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    together = attempt(sqlite_store, settings, queue(sqlite_store, wine, replicated(**sections)))
    stacked = weights_of(sqlite_store, together.id)
    for replica in range(REPLICAS):
        alone = attempt(sqlite_store, settings, queue(sqlite_store, wine, lone(replica, **sections)))
        for name, value in weights_of(sqlite_store, alone.id).items():
            torch.testing.assert_close(stacked[name][replica], value, rtol=2e-3, atol=2e-4, msg=f"{name} of {replica}")
        assert together.receipt is not None and alone.receipt is not None
        facts = together.receipt["replicas"][replica]
        assert (facts["seed"], facts["epochs"]) == (alone.seed, alone.epoch)
        assert facts["best_epoch"] == alone.receipt["best_epoch"]
        mine, its = curves(sqlite_store, together.id, replica), curves(sqlite_store, alone.id, metrics.ALL)
        # What was measured at the end has the step of the end, which is that of whoever trained longest.
        trained = {key for key in its if key[0] != "test"}
        assert trained == {key for key in mine if key[0] != "test"}
        for key in trained:
            assert mine[key] == pytest.approx(its[key], rel=5e-3, abs=5e-4), key


@pytest.mark.parametrize("sections", WAYS, ids=str)
def test_a_run_given_back_at_any_step_ends_with_the_bits_of_an_undisturbed_one(
    sections: dict[str, Any], sqlite_store: Store, settings: Settings, wine: Dataset, at_step: AtStep
) -> None:
    spec = replicated(**sections)
    expected = outcome(sqlite_store, attempt(sqlite_store, settings, queue(sqlite_store, wine, spec)).id)
    every = max(1, attempt_steps(sqlite_store) // 4)
    job_id = queue(sqlite_store, wine, spec)
    for number in range(0, 4 * every, every):
        at_step(number + 1, lambda _: draining.drain())
        attempt(sqlite_store, settings, job_id)
        draining.resume()
    job = jobs_of(sqlite_store, job_id)
    while job.status == "queued":
        job = attempt(sqlite_store, settings, job_id)
    assert outcome(sqlite_store, job_id) == expected


def attempt_steps(store: Store) -> int:
    with store.read() as session:
        (job,) = jobs.list_page(session, 1).rows
        return job.step


def jobs_of(store: Store, job_id: str) -> Any:
    with store.read() as session:
        return jobs.get(session, job_id)


def spoil(place: int) -> Callable[[Any], None]:
    def action(pack: Any) -> None:
        with torch.no_grad():
            for parameter in pack.stacked.network.parameters():
                parameter[place].fill_(torch.nan)

    return action


def test_one_that_becomes_nan_is_left_out_and_the_others_are_as_without_it(
    sqlite_store: Store, settings: Settings, wine: Dataset, at_step: AtStep
) -> None:
    sound = attempt(sqlite_store, settings, queue(sqlite_store, wine, replicated()))
    at_step(17, spoil(1))
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, replicated()))
    expected, found = weights_of(sqlite_store, sound.id), weights_of(sqlite_store, job.id)
    for name, value in expected.items():
        assert torch.equal(found[name], value[[0, 2, 3]]), name
    with sqlite_store.read() as session:
        story = [event for event in events.since(session, job.id) if event.type == "replica_failed"]
        model = models.get(session, str(job.model))
    assert [event.data for event in story] == [{"replica": 1, "seed": 4}]
    assert "NaN at step 18" in story[0].message
    assert model.members == 3
    assert job.receipt is not None and "NaN" in job.receipt["replicas"][1]["left_out"]


def test_a_job_fails_when_all_of_its_networks_do(
    sqlite_store: Store, settings: Settings, wine: Dataset, at_step: AtStep
) -> None:
    at_step(9, lambda pack: [spoil(place)(pack) for place in range(REPLICAS)])  # type: ignore[arg-type, return-value]
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, replicated()))
    assert (job.status, job.error_code) == ("failed", "non_finite_loss")


def test_means_come_with_their_extremes(sqlite_store: Store, settings: Settings, wine: Dataset) -> None:
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, replicated()))
    with sqlite_store.read() as session:
        rows = metrics.query(session, job.id, name="loss")
        each = [metrics.query(session, job.id, name="loss", replica=number) for number in range(REPLICAS)]
    assert len(rows) == 13
    for mean, *own in zip(rows, *each, strict=True):
        values = [float(row.value or 0.0) for row in own]
        assert (mean.low, mean.high) == (min(values), max(values))
        assert mean.value == pytest.approx(sum(values) / REPLICAS)


def test_pre_training_of_each_goes_on_where_it_was_broken_off(
    sqlite_store: Store, settings: Settings, wine: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [{"type": "dense", "units": 8, "activation": "sigmoid"}] * 2 + [{"type": "dense", "units": "auto"}]
    spec = changed(
        replicas=3, network={"layers": layers, "activation": "sigmoid"}, pretrain="rbm", training={"epochs": 2}
    )
    expected = outcome(sqlite_store, attempt(sqlite_store, settings, queue(sqlite_store, wine, spec)).id)
    job_id = queue(sqlite_store, wine, spec)
    original, seen = PackedRun._checkpoint, []

    def checkpoint(self: Any) -> None:
        original(self)
        seen.append(1)
        if len(seen) == 3:
            draining.drain()

    monkeypatch.setattr(PackedRun, "_checkpoint", checkpoint)
    assert attempt(sqlite_store, settings, job_id).status == "queued"
    draining.resume()
    attempt(sqlite_store, settings, job_id)
    assert outcome(sqlite_store, job_id) == expected


def test_the_stack_shrinks_when_half_of_it_has_stopped(
    sqlite_store: Store, settings: Settings, wine: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    original = Together.__call__

    def call(self: Together, batch: Any, step: int) -> Any:
        sizes.append(len(self.variants))
        return original(self, batch, step)

    monkeypatch.setattr(Together, "__call__", call)
    sections = {"regularization": STOPPING, "training": {**TRAINING, "epochs": 40}}
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, replicated(**sections)))
    assert job.receipt is not None and job.total_epochs == 40
    ends = [member["epochs"] for member in job.receipt["replicas"]]
    assert len(set(ends)) > 1 and max(ends) < 40
    assert sizes[1] == REPLICAS and min(sizes[1:]) <= REPLICAS / 2
    assert job.epoch == max(ends)
