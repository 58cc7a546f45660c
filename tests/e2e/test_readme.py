"""The commands of README, typed as they stand there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.real_stack import ROOT, WAIT_SECONDS, Stack

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def typed(script: str, stack: Stack) -> str:
    """Run a script in the clone, with the commands of this environment and the address of the stack."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = "set -euo pipefail\n" + script.replace("http://127.0.0.1:8000", stack.url)
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=os.environ | {"PATH": path, "TRAINYARD_URL": stack.url},
        capture_output=True, text=True, timeout=WAIT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_a_first_job_with_curl(stack: Stack) -> None:
    (script,) = [block for block in BLOCKS if "curl" in block]
    assert len(script.splitlines()) == 5
    (prediction,) = json.loads(typed(script, stack))["predictions"]
    assert prediction["label"] in ("class_0", "class_1", "class_2")
    assert sum(prediction["probabilities"].values()) == pytest.approx(1)


def test_the_command_line(stack: Stack) -> None:
    (script,) = [block for block in BLOCKS if "trainyard submit" in block]
    said = typed(script, stack)
    assert "succeeded" in said
    assert "mdl_" in said


def test_the_commands_that_make_knows() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "run"} <= set(targets)
