"""What the tests of data share."""

from pathlib import Path

import pytest

from tests.support.uploaded import Uploader


@pytest.fixture
def upload(tmp_path: Path) -> Uploader:
    """Return a function from the bytes of a file to its profile."""
    return Uploader(tmp_path)
