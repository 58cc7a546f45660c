"""Devices as jobs ask for them, and slots as settings write them down."""

import pytest
from pydantic import ValidationError

from service.devices import DEVICES, asked, by_kind, kind_of, read_asked, read_slots, suiting, usable
from service.queue import queue_of, queues_for
from service.settings import Settings
from service.stack import worker_commands


@pytest.mark.parametrize(
    ("text", "slots", "parts"),
    [
        ("auto", None, {"auto": "auto"}),
        ("cpu", ["cpu"], {"cpu": "cpu"}),
        ("cuda", ["cuda:0"], {"cuda": "cuda:0"}),
        ("cuda:0,cuda:1", ["cuda:0", "cuda:1"], {"cuda": "cuda:0,cuda:1"}),
        ("cuda:0+cuda:1,cuda:2", ["cuda:0+cuda:1", "cuda:2"], {"cuda": "cuda:2", "2xcuda": "cuda:0+cuda:1"}),
        ("cpu, cuda:1 ,cpu", ["cpu", "cuda:1", "cpu"], {"cpu": "cpu,cpu", "cuda": "cuda:1"}),
    ],
)
def test_slots_are_read_and_divided_by_kind(text: str, slots: list[str] | None, parts: dict[str, str]) -> None:
    assert Settings(devices=text).devices == text
    assert read_slots(text) == slots
    assert by_kind(text) == parts


WRONG = ["", "gpu", "cpu,", ",cpu", "auto,cpu", "cuda:", "cuda:-1", "cuda:1234", "cpu;cpu"]
WRONG_GROUPS = ["cuda+cuda:1", "cpu+cpu", "cuda:0+cpu", "cuda:0+"]


@pytest.mark.parametrize("text", WRONG + WRONG_GROUPS)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="devices"):
        Settings(devices=text)


def test_a_slot_takes_what_suits_it() -> None:
    assert suiting("cuda") == ("auto", "cuda")
    assert suiting("2xcuda") == ("auto", "cuda", "2xauto", "2xcuda")
    assert suiting("cpu")[:4] == ("auto", "cpu", "2xauto", "2xcpu") and suiting("cpu")[-1] == "16xcpu"
    assert usable("auto")[:3] == ("cpu", "cuda", "2xcuda") and usable("cpu") == usable("9xcpu") == ("cpu",)
    assert usable("15xcuda") == ("15xcuda", "16xcuda") and usable("16xauto") == ("cpu", "16xcuda")


def test_what_is_asked_for_is_one_word() -> None:
    for device in DEVICES:
        for devices in (1, 2, 16):
            assert read_asked(asked(device, devices)) == (device, devices)
    assert kind_of("cuda:3") == "cuda" and kind_of("cuda:3+cuda:1+cuda:0") == "3xcuda"


def test_jobs_for_several_devices_have_queues_that_a_slot_of_one_gpu_does_not_listen_to() -> None:
    assert queues_for("cuda") == ["trainyard.auto", "trainyard.cuda"]
    several = ["trainyard.several.auto", "trainyard.several.cuda"]
    assert queues_for("2xcuda") == queues_for("8xcuda") == [*queues_for("cuda"), *several]
    assert queue_of("4xcpu") in queues_for("cpu") and len(queues_for(None)) == 6


def test_one_worker_a_kind() -> None:
    assert list(worker_commands(Settings(devices="cpu,cpu"))) == ["worker"]
    mixed = worker_commands(Settings(devices="cpu,cuda:0,cpu"))
    assert {name: command[1] for name, command in mixed.items()} == {
        "worker-cpu": "TRAINYARD_DEVICES=cpu,cpu",
        "worker-cuda": "TRAINYARD_DEVICES=cuda:0",
    }
    share = f"TRAINYARD_THREADS_PER_SLOT={max(1, Settings().cores // 3)}"
    assert [command[2] for command in mixed.values()] == [share, share]


def test_processors_are_shared_between_the_slots() -> None:
    cores = Settings().cores
    assert Settings(devices="cpu,cpu").threads_of_a_job == Settings(slots=2).threads_of_a_job == max(1, cores // 2)
