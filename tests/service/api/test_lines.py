import asyncio

import pytest

from service.api.lines import Lines


def test_lines_leave_at_once_where_there_is_no_loop(capsys: pytest.CaptureFixture[str]) -> None:
    print("one", file=Lines(), flush=True)
    assert capsys.readouterr().out == "one\n"


def test_the_lines_of_one_turn_of_the_loop_leave_together(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()

    async def run() -> tuple[str, str]:
        for word in ("one", "two"):
            print(word, file=lines, flush=True)
        before = capsys.readouterr().out
        await asyncio.sleep(0)
        return before, capsys.readouterr().out

    assert asyncio.run(run()) == ("", "one\ntwo\n")
