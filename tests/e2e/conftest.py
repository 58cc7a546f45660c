"""What end-to-end tests share: one stack for most of them, and a way to start others."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.client import Client
from tests.support.real_stack import Stack


@pytest.fixture(scope="package")
def make_stack() -> Iterator[Callable[..., Stack]]:
    """Start a stack in a home of this name, with settings of its own; all of them end with these tests."""
    folder, started = Path(tempfile.mkdtemp(prefix="ty-e2e-")), []

    def start(name: str, **settings: str) -> Stack:
        stack = Stack(folder / name, **settings)
        started.append(stack)
        return stack

    yield start
    for stack in started:
        stack.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="package")
def stack(make_stack: Callable[..., Stack]) -> Stack:
    """The stack that most tests share; it may send to loopback, and is soon to try again."""
    allowed = {"TRAINYARD_WEBHOOK_ALLOW_PRIVATE": "true", "TRAINYARD_WEBHOOK_RETRY_SECONDS": "0.2"}
    stack = make_stack("home", **allowed)
    stack.wait()
    return stack


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    """A client of the shared stack."""
    with Client(stack.url) as client:
        yield client


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the whole stack, and /proc to look at its processes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"))
