import numpy as np
import pytest
import torch

from service.uncertainty.selection import RiskCoverage


def curve(doubt: list[float], risk: list[float], parts: int = 1) -> dict[str, object]:
    found = RiskCoverage()
    for rows in np.array_split(np.arange(len(doubt)), parts):
        found.add(torch.tensor(doubt)[rows], torch.tensor(risk)[rows])
    return found.values()


def test_the_area_is_the_mean_risk_of_the_surest_rows() -> None:
    found = curve([0.3, 0.1, 0.2, 0.4], [0.0, 0.0, 1.0, 1.0])
    assert found["area"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    assert found["points"] == [
        {"coverage": 0.25, "risk": 0.0, "limit": pytest.approx(0.1)},
        {"coverage": 0.5, "risk": 0.5, "limit": pytest.approx(0.2)},
        {"coverage": 0.75, "risk": pytest.approx(1 / 3), "limit": pytest.approx(0.3)},
        {"coverage": 1.0, "risk": 0.5, "limit": pytest.approx(0.4)},
    ]


def test_parts_and_points_of_many_rows() -> None:
    source = np.random.Generator(np.random.Philox(1))
    doubt, risk = source.random(501).tolist(), source.random(501).tolist()
    whole = curve(doubt, risk)
    assert whole == curve(doubt, risk, 7)
    assert len(whole["points"]) == 20  # type: ignore[arg-type]
    assert whole["points"][-1]["risk"] == pytest.approx(np.mean(risk), rel=1e-6)  # type: ignore[index]


def test_doubt_that_tells_right_from_wrong_has_a_small_area() -> None:
    risk = [0.0] * 90 + [1.0] * 10
    telling, misleading = curve(list(np.arange(100.0)), risk), curve(list(-np.arange(100.0)), risk)
    assert telling["area"] < 0.01 < 0.1 < misleading["area"]  # type: ignore[operator]
