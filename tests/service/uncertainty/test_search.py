import math

import numpy as np
import pytest
import torch

from service.uncertainty.search import argmin


@pytest.mark.parametrize("at", [-2.9, -1.0, 0.0, 0.123, 2.0, 3.0])
def test_many_valleys_are_found_at_once(at: float) -> None:
    places = torch.tensor([at, -at, at / 2]).double()
    ends = torch.full((3,), 3.0).double()
    found = argmin(lambda x: (x - places).abs().pow(1.5), -ends, ends)
    np.testing.assert_allclose(found, places, atol=1e-5)


def test_of_two_valleys_the_deeper_one_is_taken() -> None:
    found = argmin(
        lambda x: -2 * torch.exp(-((x - 2) ** 2)) - torch.exp(-((x + 2) ** 2)),
        torch.tensor([-5.0]).double(),
        torch.tensor([5.0]).double(),
    )
    assert math.isclose(found.item(), 2.0, abs_tol=1e-4)
