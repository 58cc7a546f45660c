"""Writes the data files beside it from the data sets that scikit-learn brings along.

The rows are shuffled once, with a fixed seed, so that the last ones of a file are a fair sample to
hold out. Needs the `test` extra: `python examples/make_data.py`.
"""

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

HERE = Path(__file__).parent
SEED = 7


def as_csv(header: list[str], features: NDArray[np.float64], target: list[str]) -> bytes:
    """Return a CSV file; numbers as short as they can be written without loss."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name.replace(" ", "_") for name in header])
    order = np.random.default_rng(SEED).permutation(len(features))
    for row in order:
        writer.writerow([*(f"{value:.12g}" for value in features[row]), target[row]])
    return text.getvalue().encode()


def wine() -> bytes:
    """178 Italian wines of three cultivars: 13 chemical measurements."""
    data = load_wine()
    return as_csv([*data.feature_names, "cultivar"], data.data, [str(data.target_names[k]) for k in data.target])


def breast_cancer() -> bytes:
    """569 tumours, malignant or benign: 30 measurements of cell nuclei."""
    data = load_breast_cancer()
    return as_csv([*data.feature_names, "diagnosis"], data.data, [str(data.target_names[k]) for k in data.target])


def diabetes() -> bytes:
    """442 patients: 10 measurements, and how far the disease went in the year after."""
    data = load_diabetes(scaled=False)
    names = ["age", "sex", "bmi", "blood_pressure", "tc", "ldl", "hdl", "tch", "ltg", "glucose", "progression"]
    return as_csv(names, data.data, [f"{value:g}" for value in data.target])


def digits() -> bytes:
    """1797 handwritten digits, 8 x 8 pixels of 17 grey levels."""
    data = load_digits()
    order = np.random.default_rng(SEED).permutation(len(data.target))
    file = io.BytesIO()
    images, labels = data.images[order].astype(np.uint8), data.target[order].astype(np.int64)
    np.savez_compressed(file, x=images, y=labels)
    return file.getvalue()


FILES = {"wine.csv": wine, "breast_cancer.csv": breast_cancer, "diabetes.csv": diabetes, "digits.npz": digits}

if __name__ == "__main__":
    for name, make in FILES.items():
        (HERE / name).write_bytes(make())
