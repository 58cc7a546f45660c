"""Sums of metrics that are broken off after any batch, and gone on with: the same bits."""

import pytest
import torch
from torch import Tensor

from service.blocks.losses import AnyLoss, CrossEntropy
from service.blocks.metrics import Metric
from service.blocks.value_losses import Mse
from tests.service.blocks.test_every_block import smallest
from worker.training.tally import Measure, Tally, Units

CPU = torch.device("cpu")
CLASSES = [name for name, metric in Metric.members().items() if "classification" in metric.tasks]
NUMBERS = [name for name, metric in Metric.members().items() if metric.tasks == ("regression",)]


def measure(names: list[str], loss: AnyLoss, units: Units | None = None) -> Measure:
    members = Metric.members()
    metrics = [members[name].model_validate(smallest(members[name])) for name in names]
    return Measure(loss, [m for m in metrics if m.type != "gaussian_log_likelihood"], units, records=True)


def batches(classes: bool) -> list[tuple[Tensor, Tensor]]:
    source = torch.Generator().manual_seed(0)
    sizes = [7, 7, 7, 7, 3]
    if classes:
        return [(torch.randn(n, 3, generator=source), torch.randint(3, (n,), generator=source)) for n in sizes]
    return [(torch.randn(n, 1, generator=source), torch.randn(n, 1, generator=source)) for n in sizes]


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("at_once", [1, 10, 1000])
def test_a_tally_broken_off_anywhere_ends_with_the_same_bits(
    classes: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tally, "rows_at_once", at_once)
    units = (
        None if classes else Units(torch.tensor([1.7], dtype=torch.float64), torch.tensor([0.3], dtype=torch.float64))
    )
    of = measure(CLASSES if classes else NUMBERS, CrossEntropy() if classes else Mse(), units)
    whole = Tally(of)
    for output, target in batches(classes):
        whole.add(output, target)
    expected = whole.state()
    assert set(expected["sums"]) == {metric.key for metric in of.metrics} == set(whole.values()) - {"loss"}
    for place in range(len(batches(classes))):
        first, second = Tally(of), Tally(of)
        for output, target in batches(classes)[:place]:
            first.add(output, target)
        second.restore(first.state(), CPU)
        for output, target in batches(classes)[place:]:
            second.add(output, target)
        assert second.state() == expected, place


def test_what_counts_counts_rows_however_they_are_put_together() -> None:
    of = measure(CLASSES, CrossEntropy())
    assert of.counting and of.summing
    outputs, targets = (torch.cat(parts) for parts in zip(*batches(True), strict=True))
    whole = of.counted(torch.softmax(outputs, 1), targets)
    parts = [of.counted(torch.softmax(output, 1), target) for output, target in batches(True)]
    for sums, *pieces in zip(whole, *parts, strict=True):
        assert torch.equal(sums, torch.stack(pieces).sum(0)) and torch.equal(sums, sums.round())
