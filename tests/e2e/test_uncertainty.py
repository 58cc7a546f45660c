"""The benchmark of Monte-Carlo dropout on a small set whose noise is known, from the folder to the figures."""

from pathlib import Path

import numpy as np
import pytest

from service.client import Client
from tests.support.programs import program
from tests.support.uci_folder import NOISE, write_set

uci, uncertainty = program("uci"), program("uncertainty")


def test_a_known_noise_is_found_and_predicted(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uncertainty, "STEPS", 600)
    monkeypatch.setattr(uncertainty, "SAMPLES", 500)
    write_set(tmp_path / "set", rows=400, splits=2)
    results = list(uncertainty.measure(client, uci.read(tmp_path / "set"), tmp_path))
    assert len(results) == 2
    # Nobody can have a larger likelihood than the truth has: minus the entropy of the noise.
    most = -0.5 * np.log(2 * np.pi * np.e * NOISE**2)
    for choice, rmse, likelihood in results:
        assert choice.rate in (0.005, 0.05)
        assert rmse == pytest.approx(NOISE, rel=0.6)
        assert most - 0.6 < likelihood < most + 0.4
