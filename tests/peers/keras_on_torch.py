"""Keras on its torch backend, on the CPU; a test module that imports this is skipped where Keras is not installed."""

import tempfile
import warnings
from typing import Any

import numpy as np
import pytest
import torch

with pytest.MonkeyPatch.context() as environment, tempfile.TemporaryDirectory() as home, warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what Keras warns of while it is imported is not ours
    environment.setenv("KERAS_BACKEND", "torch")
    environment.setenv("KERAS_TORCH_DEVICE", "cpu")
    environment.setenv("KERAS_HOME", home)  # it would write its defaults into the user's home, or take them from there
    keras: Any = pytest.importorskip("keras", reason="Keras is not installed; the extra `peers` brings it")

if keras.backend.backend() != "torch":
    pytest.skip("Keras was imported with another backend", allow_module_level=True)

ignore_warnings = pytest.mark.filterwarnings("ignore")
"""Warnings are errors in these tests; those of Keras are not ours to mend."""


def array(value: Any) -> np.ndarray:
    """Return what Keras gives as numpy."""
    return np.asarray(keras.ops.convert_to_numpy(value))


def agree(ours: torch.Tensor, theirs: Any, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    """Fail unless both are the same up to rounding in single precision."""
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_allclose(ours.detach().numpy(), array(theirs), rtol=rtol, atol=atol)
