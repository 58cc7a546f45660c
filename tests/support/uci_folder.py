"""A small set with splits, laid out as the real ones are."""

from pathlib import Path

import numpy as np

NOISE = 0.5


def write_set(folder: Path, rows: int = 60, splits: int = 3, seed: int = 0) -> np.ndarray:
    """Write a set whose second column follows from the two others, with noise; return its table."""
    source = np.random.Generator(np.random.Philox(seed))
    x = source.normal(size=(rows, 2))
    y = 20 + 4 * x[:, 0] - 3 * x[:, 1] + source.normal(size=rows) * NOISE
    table = np.column_stack([x[:, 0], y, x[:, 1]]).round(4)
    folder.mkdir(parents=True)
    # Blanks of several kinds, and some behind the last number: that is how the files are.
    (folder / "data.txt").write_text("".join(f" {a:.4f} \t{b:.4f}  {c:.4f} \n" for a, b, c in table))
    np.savetxt(folder / "index_features.txt", [0, 2])
    np.savetxt(folder / "index_target.txt", [1])
    for k in range(splits):
        order = source.permutation(rows)
        np.savetxt(folder / f"index_train_{k}.txt", order[rows // 10 :], fmt="%d")
        np.savetxt(folder / f"index_test_{k}.txt", order[: rows // 10], fmt="%d")
    (folder / "dropout_rates.txt").write_text("0.005\n0.05")
    for name, value in {"hidden": 8, "epochs": 3, "splits": splits}.items():
        (folder / f"n_{name}.txt").write_text(f"{value}\n")
    return table
