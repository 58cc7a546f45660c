"""The slots that a worker finds or is told to have."""

import pytest
import torch

from service.failures import TrainingFailed
from service.settings import Settings
from worker.device import choose_devices
from worker.slots import NoSuchSlot, count_gpus, find_slots

needs_no_gpu = pytest.mark.skipif(count_gpus() > 0, reason="this machine has a GPU")


def test_gpus_are_counted_without_touching_cuda() -> None:
    there = count_gpus()
    assert not torch.cuda.is_initialized()
    assert there == torch.cuda.device_count()


@needs_no_gpu
def test_without_a_gpu_the_slots_are_on_the_cpu() -> None:
    assert find_slots(Settings()) == ["cpu"]
    assert find_slots(Settings(slots=3)) == ["cpu"] * 3


def test_named_slots_are_taken_as_they_are() -> None:
    assert find_slots(Settings(devices="cpu,cpu", slots=7)) == ["cpu", "cpu"]


def test_a_gpu_that_is_not_there_is_refused() -> None:
    missing = count_gpus() + 5
    with pytest.raises(NoSuchSlot, match=rf"names cuda:{missing}, and this machine has {missing - 5} GPUs"):
        find_slots(Settings(devices=f"cuda:{missing}"))
    with pytest.raises(TrainingFailed, match=f'no GPU "cuda:{missing}"'):
        choose_devices("cuda", f"cuda:{missing}")


def test_a_slot_names_a_gpu_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.slots.count_gpus", lambda: 4)
    assert find_slots(Settings(devices="cuda:0+cuda:1,cuda:2+cuda:1")) == ["cuda:0+cuda:1", "cuda:2+cuda:1"]
    with pytest.raises(NoSuchSlot, match=r"the slot cuda:1\+cuda:1, and a job uses a GPU once"):
        find_slots(Settings(devices="cuda:1+cuda:1"))
    with pytest.raises(NoSuchSlot, match="names cuda:4, and this machine has 4 GPUs"):
        find_slots(Settings(devices="cuda:0+cuda:4"))


def test_slots_of_two_kinds_need_two_workers() -> None:
    with pytest.raises(NoSuchSlot, match="`trainyard worker` starts one of each"):
        find_slots(Settings(devices="cpu,cuda:0"))


@needs_no_gpu
def test_a_slot_decides_where_an_auto_job_runs() -> None:
    assert choose_devices("auto", "cpu") == choose_devices("auto") == choose_devices("cpu") == [torch.device("cpu")]
    assert choose_devices("auto", "cpu", 3) == [torch.device("cpu")] * 3
    with pytest.raises(TrainingFailed, match="no GPU"):
        choose_devices("cuda")
    with pytest.raises(TrainingFailed, match="fewer than 3 GPUs"):
        choose_devices("cuda", "cuda:0+cuda:1", 3)
