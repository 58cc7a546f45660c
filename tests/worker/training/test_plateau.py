"""The plateau against torch's, and its place in a run."""

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from service.blocks.metrics import Accuracy
from service.spec import JobSpec
from tests.worker.runs import changed
from worker.training.plateau import Plateau

VALUES = [1.0, 0.9, 0.91, 0.92, 0.8, 0.8, 0.8, 0.8, 0.8, 0.79995, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]


def plateau(monitor: str = "val_loss", validation: bool = True, **fields: float) -> Plateau:
    spec = changed(schedule={"type": "reduce_on_plateau", **({"monitor": monitor} if monitor else {}), **fields})
    spec["data"]["dataset"] = "ds_" + "0" * 26
    found = Plateau.of(JobSpec.model_validate(spec), [Accuracy()], validation)
    assert found is not None
    return found


@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize("cooldown", [0, 2])
@pytest.mark.parametrize("min_factor", [0.0, 0.2])
def test_drops_where_torch_drops(patience: int, cooldown: int, min_factor: float) -> None:
    rule = plateau(gamma=0.5, patience=patience, cooldown=cooldown, min_factor=min_factor, min_delta=0.001)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    # torch counts the bad epochs it tolerates, Keras and this those after which the rate drops.
    reference = ReduceLROnPlateau(
        optimizer,
        factor=0.5,
        patience=patience - 1,
        cooldown=cooldown,
        threshold=0.001,
        threshold_mode="abs",
        min_lr=min_factor,
        eps=0,
    )
    for value in VALUES:
        rule.see({"validation": {"loss": value}})
        reference.step(value)
        assert rule.factor == pytest.approx(optimizer.param_groups[0]["lr"])


def test_a_metric_of_which_more_is_better_may_rise() -> None:
    rule = plateau("val_accuracy", patience=2)
    for value in (0.5, 0.6, 0.7, 0.8):
        rule.see({"validation": {"accuracy": value}})
    assert rule.factor == 1.0
    for _ in range(2):
        rule.see({"validation": {"accuracy": 0.8}})
    assert rule.factor == pytest.approx(0.1)


def test_without_validation_rows_it_follows_the_training_loss() -> None:
    assert plateau("", validation=False).monitor == "loss"
    assert plateau("", validation=True).monitor == "val_loss"


def test_goes_on_from_what_it_has_seen() -> None:
    whole, first, second = (plateau(patience=2, cooldown=1) for _ in range(3))
    for value in VALUES:
        whole.see({"validation": {"loss": value}})
    for value in VALUES[:9]:
        first.see({"validation": {"loss": value}})
    second.restore(first.state())
    for value in VALUES[9:]:
        second.see({"validation": {"loss": value}})
    assert second.state() == whole.state()
