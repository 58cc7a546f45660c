"""What `make demo` does, and that it can be broken off."""

import signal
import subprocess
import sys

from tests.support.real_stack import ROOT, WAIT_SECONDS, descendants, eventually, name_of, parents

DEMO = [sys.executable, "examples/demo.py"]


def test_the_demo_trains_predicts_and_stops_what_it_started() -> None:
    family: set[int] = set()
    names: set[str] = set()
    said = ""
    with subprocess.Popen(DEMO, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            family |= descendants(process.pid)
            names |= set(map(name_of, family))
    assert process.returncode == 0, said
    assert names >= {"redis-server", "worker", "server"}
    assert family.isdisjoint(parents())
    for part in (
        "samples/s",
        "val_loss",
        "on rows held out for the test",
        "mean ± std",
        "probability ± std",
        "accuracy 0.9",
    ):
        assert part in said


def test_ctrl_c_stops_everything() -> None:
    process = subprocess.Popen(
        DEMO, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert eventually(lambda: any(name_of(pid) == "server" for pid in descendants(process.pid)))
    family = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130
    assert family.isdisjoint(parents())
