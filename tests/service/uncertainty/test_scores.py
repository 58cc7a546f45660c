"""Conformal quantiles: the rank that the theorem names, and what that promises of rows never seen."""

import math

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.uncertainty.scores import Scores


@pytest.mark.parametrize(
    ("rows", "coverage", "rank"), [(9, 0.9, 9), (9, 0.5, 5), (19, 0.9, 18), (99, 0.95, 95), (10, 0.9, 10), (10, 0.1, 2)]
)
def test_the_threshold_is_the_score_of_the_rank_that_the_theorem_names(rows: int, coverage: float, rank: int) -> None:
    scores = Scores.of(torch.arange(rows, 0, -1))
    assert scores.conformal(coverage) == rank == math.ceil(round((rows + 1) * coverage, 9))


def test_more_coverage_than_the_rows_can_speak_of_has_no_threshold() -> None:
    scores = Scores.of(torch.arange(9))
    assert scores.most_coverage == 0.9
    assert scores.conformal(0.9) == 8.0 and scores.conformal(0.91) == math.inf
    assert Scores.of(torch.zeros(0)).conformal(0.1) == math.inf


@given(st.integers(1, 400), st.integers(1, 60), st.floats(0.01, 0.99))
def test_of_many_scores_a_grid_is_kept_that_never_promises_too_much(rows: int, most: int, coverage: float) -> None:
    whole, grid = Scores.of(torch.arange(rows), rows), Scores.of(torch.arange(rows), most)
    assert len(grid.kept) == min(rows, most) and grid.kept[-1] == rows - 1
    exact, kept = whole.conformal(coverage), grid.conformal(coverage)
    assert exact <= kept
    if kept < math.inf:
        assert kept - exact <= math.ceil(rows / most)


def test_quantiles_are_numpys_inverted_distribution() -> None:
    values = np.random.Generator(np.random.Philox(5)).normal(size=151)
    scores = Scores.of(torch.from_numpy(values))
    for share in (0.01, 0.25, 0.5, 0.9, 0.999):
        assert scores.quantile(share) == np.quantile(values, share, method="inverted_cdf")


def test_scores_are_the_same_behind_json() -> None:
    scores = Scores.of(torch.from_numpy(np.random.Generator(np.random.Philox(6)).normal(size=77)))
    assert Scores.from_json(orjson.loads(orjson.dumps(scores.to_json()))) == scores


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_new_rows_are_covered_as_often_as_promised(coverage: float) -> None:
    """Over many draws of 50 validation rows: at least the coverage, at most 1 / 51 more."""
    draws = np.random.Generator(np.random.Philox(7)).gamma(0.7, size=(4000, 51))
    covered = [row[50] <= Scores.of(torch.from_numpy(row[:50])).conformal(coverage) for row in draws]
    error = 4 * math.sqrt(coverage * (1 - coverage) / len(draws))
    assert coverage - error <= np.mean(covered) <= coverage + 1 / 51 + error
