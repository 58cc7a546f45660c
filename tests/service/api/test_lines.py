import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from service.api.lines import Log


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_is_an_object_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    Log("INFO").info("request", status=200)
    (line,) = lines(capsys)
    assert list(line) == ["status", "event", "level", "timestamp"]
    assert (line["status"], line["event"], line["level"]) == (200, "request", "info")
    assert line["timestamp"].endswith("Z")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(line["timestamp"])).total_seconds()) < 60


def test_a_fault_tells_where_it_came_up(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise RuntimeError("inside")
    except RuntimeError as error:
        Log("ERROR").error("unexpected", error, path="/v1")
    (line,) = lines(capsys)
    assert (line["path"], line["level"]) == ("/v1", "error")
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("RuntimeError: inside")


@pytest.mark.parametrize(
    ("level", "kept"), [("DEBUG", ["one", "two"]), ("INFO", ["one", "two"]), ("ERROR", ["two"]), ("CRITICAL", [])]
)
def test_what_is_below_the_level_is_not_printed(
    capsys: pytest.CaptureFixture[str], level: str, kept: list[str]
) -> None:
    log = Log(level)
    log.info("one")
    log.error("two", ValueError())
    assert [line["event"] for line in lines(capsys)] == kept


def test_the_lines_of_one_turn_of_the_loop_leave_together(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log("INFO")

    async def run() -> None:
        for word in ("one", "two"):
            log.info(word)
        assert not lines(capsys)
        await asyncio.sleep(0)
        assert [line["event"] for line in lines(capsys)] == ["one", "two"]

    for _ in range(2):
        asyncio.run(run())
