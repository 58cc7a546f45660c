"""Arrays as the stock client sends them, and real rows."""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

tritonclient = importlib.import_module("tritonclient.http")
np_to_triton_dtype = importlib.import_module("tritonclient.utils").np_to_triton_dtype

FLOWERS = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.1, 5.6, 2.4], [5.9, 3.0, 4.2, 1.5]])
FLOWER = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]


def inputs(columns: dict[str, NDArray[Any]], binary: bool = True) -> list[Any]:
    """Return arrays as the client's inputs."""
    found = []
    for name, values in columns.items():
        tensor = tritonclient.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
        tensor.set_data_from_numpy(values, binary_data=binary)
        found.append(tensor)
    return found


def outputs(*names: str, binary: bool = True) -> list[Any]:
    """Return names as the client's requested outputs."""
    return [tritonclient.InferRequestedOutput(name, binary_data=binary) for name in names]
