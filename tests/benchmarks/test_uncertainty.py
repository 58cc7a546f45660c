"""What the benchmark of Monte-Carlo dropout computes with: the estimator, the folders, and what it submits."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from service.problems import parse_spec
from tests.support.programs import program
from tests.support.uci_folder import write_set

uci, uncertainty = program("uci"), program("uncertainty")


def test_one_sample_has_the_likelihood_of_a_normal_distribution() -> None:
    y, sample = np.array([1.0, -2.0, 30.0]), np.array([0.5, -1.0, 33.0])
    expected = stats.norm.logpdf(y, sample, 0.25**-0.5).mean()
    assert uncertainty.log_likelihood(y, sample[:, None], 0.25) == pytest.approx(expected)


def test_samples_have_the_likelihood_of_their_mixture() -> None:
    source = np.random.Generator(np.random.Philox(1))
    y, samples = source.normal(size=40), source.normal(size=(40, 30))
    expected = np.log(stats.norm.pdf(y[:, None], samples, 2.0**-0.5).mean(1)).mean()
    assert uncertainty.log_likelihood(y, samples, 2.0) == pytest.approx(expected)


def test_the_likelihood_is_that_of_a_density() -> None:
    samples = np.array([[-1.0, 0.5, 4.0]])
    density = lambda y: np.exp(uncertainty.log_likelihood(np.array([y]), samples, 3.0))  # noqa: E731
    assert integrate.quad(density, -10, 15)[0] == pytest.approx(1)


def test_what_is_far_from_every_sample_has_a_finite_likelihood() -> None:
    found = uncertainty.log_likelihood(np.array([1e4]), np.zeros((1, 10)), 100.0)
    assert found == pytest.approx(stats.norm.logpdf(1e4, 0, 0.1))


@pytest.mark.parametrize("inside", ["", "data"])
def test_a_folder_is_read(tmp_path: Path, inside: str) -> None:
    table = write_set(tmp_path / "set" / inside)
    found = uci.read(tmp_path / "set")
    assert (found.name, found.rates, found.hidden, found.epochs, found.count) == ("set", (0.005, 0.05), 8, 3, 3)
    assert found.columns == ["x0", "x1"]
    assert len(found.splits) == 3 and len(uci.read(tmp_path / "set", 2).splits) == 2
    for k, split in enumerate(found.splits):
        for part, rows in (("train", split.train), ("test", split.test)):
            index = np.loadtxt(tmp_path / "set" / inside / f"index_{part}_{k}.txt").astype(int)
            np.testing.assert_array_equal(rows, table[index][:, [0, 2, 1]])
        assert (len(split.train), len(split.test)) == (54, 6)


@pytest.mark.parametrize("gone", ["data.txt", "index_test_1.txt", "n_hidden.txt"])
def test_what_is_missing_is_named(tmp_path: Path, gone: str) -> None:
    write_set(tmp_path / "set")
    (tmp_path / "set" / gone).unlink()
    with pytest.raises(SystemExit, match=gone):
        uci.read(tmp_path / "set")


@pytest.mark.parametrize("rows", [5, 54, 101])
def test_every_row_validates_once_and_the_last_ones_first(rows: int) -> None:
    found = [list(range(rows)[fold]) for fold in uci.folds(rows, 5)]
    assert [row for fold in reversed(found) for row in fold] == list(range(rows))
    assert found[0] == list(range(rows - len(found[0]), rows))
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_only_training_rows_are_written(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    split = uci.read(tmp_path / "set").splits[0]
    named = uci.write(split.train, ["x0", "x1"], 5, tmp_path / "rows.csv")
    lines = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    np.testing.assert_array_equal([[float(line[name]) for name in ("x0", "x1", "y")] for line in lines], split.train)
    for name, fold in zip(named, uci.folds(54, 5), strict=True):
        validating = [at for at, line in enumerate(lines) if line[name] == "validation"]
        assert validating == list(range(54)[fold])
        assert {line[name] for line in lines} == {"train", "validation"}


def test_the_specification_is_the_papers_network(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    body = uncertainty.specification(uci.read(tmp_path / "set"), uncertainty.Choice(0.05, 1e-4), 54)
    body["data"]["dataset"] = "ds_" + "0" * 26
    spec = parse_spec(json.dumps(body).encode())
    assert [layer.type for layer in spec.network.layers] == ["dropout", "dense", "dropout", "dense"]
    assert spec.training.epochs == uncertainty.STEPS // 2
    assert uncertainty.epochs(40, 10**6) == 40


def test_a_line_says_whether_it_is_as_good() -> None:
    rates = {"rates": (), "hidden": 50, "epochs": 40, "count": 20, "splits": ()}
    data = uci.DataSet("bostonHousing", **rates)
    assert uncertainty.line(data, [3.0, 3.2], [-2.5, -2.4]).endswith("as good")
    assert uncertainty.line(data, [3.2, 3.3], [-2.5, -2.4]).endswith("worse")
    assert uncertainty.line(data, [3.0, 3.2], [-2.6, -2.5]).endswith("worse")
    assert not uncertainty.line(uci.DataSet("mine", **rates), [3.0, 3.2], [-2.5, -2.4]).strip().endswith("good")
