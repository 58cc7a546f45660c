"""Devices as jobs ask for them, and slots as settings write them down."""

import pytest
from pydantic import ValidationError

from service.devices import by_kind, read_slots, suiting, usable
from service.settings import Settings
from service.stack import worker_commands


@pytest.mark.parametrize(
    ("text", "slots", "parts"),
    [
        ("auto", None, {"auto": "auto"}),
        ("cpu", ["cpu"], {"cpu": "cpu"}),
        ("cuda", ["cuda:0"], {"cuda": "cuda:0"}),
        ("cuda:0,cuda:1", ["cuda:0", "cuda:1"], {"cuda": "cuda:0,cuda:1"}),
        ("cpu, cuda:1 ,cpu", ["cpu", "cuda:1", "cpu"], {"cpu": "cpu,cpu", "cuda": "cuda:1"}),
    ],
)
def test_slots_are_read_and_divided_by_kind(text: str, slots: list[str] | None, parts: dict[str, str]) -> None:
    assert Settings(devices=text).devices == text
    assert read_slots(text) == slots
    assert by_kind(text) == parts


@pytest.mark.parametrize("text", ["", "gpu", "cpu,", ",cpu", "auto,cpu", "cuda:", "cuda:-1", "cuda:1234", "cpu;cpu"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="devices"):
        Settings(devices=text)


def test_a_slot_takes_what_suits_it() -> None:
    assert suiting("cpu") == ("auto", "cpu") and suiting("cuda") == ("auto", "cuda")
    assert usable("auto") == ("cpu", "cuda") and usable("cuda") == ("cuda",)


def test_one_worker_a_kind() -> None:
    assert list(worker_commands(Settings(devices="cpu,cpu"))) == ["worker"]
    mixed = worker_commands(Settings(devices="cpu,cuda:0,cpu"))
    assert {name: command[1] for name, command in mixed.items()} == {
        "worker-cpu": "TRAINYARD_DEVICES=cpu,cpu",
        "worker-cuda": "TRAINYARD_DEVICES=cuda:0",
    }


def test_processors_are_shared_between_the_slots() -> None:
    cores = Settings().cores
    assert Settings(devices="cpu,cpu").threads_of_a_job == Settings(slots=2).threads_of_a_job == max(1, cores // 2)
