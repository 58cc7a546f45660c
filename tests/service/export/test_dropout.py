"""Files whose random layers stay random: mean and spread of their answers are those of the service's samples."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from service.export.files import write
from tests.service.export.asking import onnx_answers, service_answers, torch_answers
from tests.support.every_block import DATA, specification
from tests.support.untrained import Untrained, untrained

DRAWS = 4000
SIGMAS = 5.0
SPREAD = 0.12
"""Largest relative error of a deviation: of 4,000 draws it is 1.1 % for a normal distribution, more for others."""
TAIL = [{"type": "flatten"}, {"type": "dense", "units": "auto"}]
WIDE = {"type": "dense", "units": 16, "activation": "tanh"}
LAYERS: dict[str, tuple[str, list[Any]]] = {
    "dropout": ("table", [WIDE, {"type": "dropout", "rate": 0.3}, *TAIL]),
    "alpha_dropout": ("table", [WIDE, {"type": "alpha_dropout", "rate": 0.2}, *TAIL]),
    "gaussian_noise": ("table", [WIDE, {"type": "gaussian_noise", "std": 0.5}, *TAIL]),
    "rrelu": ("table", [{**WIDE, "activation": {"type": "rrelu", "lower": 0.0, "upper": 1.0}}, *TAIL]),
    "spatial_dropout": ("images", [{"type": "spatial_dropout", "rate": 0.4}, *TAIL]),
    "recurrent dropout": (
        "sequences", [{"type": "lstm", "units": 6, "dropout": 0.3, "recurrent_dropout": 0.3}, *TAIL],
    ),
    "attention dropout": (
        "sequences", [{"type": "multi_head_attention", "heads": 2, "dropout": 0.4}, *TAIL],
    ),
}  # fmt: skip


def model_of(name: str, **sections: Any) -> tuple[Untrained, Any]:
    """A model with this kind of noise, and a row of its data as files take it."""
    data, layers = LAYERS[name]
    kind, content = DATA[data]
    model = untrained(content, kind, specification(data, network={"layers": layers}, **sections))
    source = np.random.Generator(np.random.Philox(3))
    shape = model.loaded.features.columns[0].shape
    return model, source.normal(size=shape or (3,)).astype(np.float32 if shape else np.float64)


def given(row: Any, named: bool) -> dict[str, Any]:
    """The row again and again: every one draws for itself."""
    rows = np.repeat(row[None], DRAWS, axis=0)
    return {f"n{i + 1}": rows[:, i] for i in range(3)} if named else {"input": rows}


def assert_alike(found: Any, samples: Any) -> None:
    """Both are [draws, outputs]."""
    errors = np.sqrt(found.var(0) / len(found) + samples.var(0) / len(samples))
    assert (np.abs(found.mean(0) - samples.mean(0)) < SIGMAS * errors + 1e-7).all()
    assert found.std(0) == pytest.approx(samples.std(0), rel=SPREAD)
    assert (samples.std(0) > 1e-3).all()


@pytest.mark.parametrize("name", LAYERS)
def test_mean_and_spread_are_those_of_the_service(name: str) -> None:
    model, row = model_of(name)
    data, checked = write(model.row, model.loaded, "onnx", dropout=True)
    assert checked.largest_difference is None
    inputs = given(row, named=row.ndim == 1)
    # A session goes on with its numbers; another one of the same process begins with those of the first.
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,), (again,) = (session.run(["probabilities"], inputs) for _ in range(2))
    values = row.tolist()
    options = {"mc_samples": DRAWS, "return_samples": True, "seed": 1}
    (samples,) = service_answers(model.loaded, [values if row.ndim == 1 else [values]], "samples", **options)
    assert_alike(found, samples)
    assert_alike(again, samples)
    assert not np.array_equal(again, found)


def test_a_file_of_torch_draws_for_every_row_and_call_too() -> None:
    model, row = model_of("dropout")
    data, _ = write(model.row, model.loaded, "torch", dropout=True)
    rows = np.repeat(row[None], DRAWS, axis=0)
    (found,) = torch_answers(data, rows)
    options = {"mc_samples": DRAWS, "return_samples": True, "seed": 1}
    (samples,) = service_answers(model.loaded, [row.tolist()], "samples", **options)
    assert_alike(found, samples)
    torch.manual_seed(1)
    (first,) = torch_answers(data, rows)
    torch.manual_seed(1)
    (again,) = torch_answers(data, rows)
    assert np.array_equal(first, again)


def test_samples_of_a_calibrated_model_are_calibrated() -> None:
    model, row = model_of("dropout", loss="mse", data={"target": "amount", "split": {"validation": 0.5}})
    assert model.row.calibration
    found = onnx_answers(write(model.row, model.loaded, "onnx", dropout=True)[0], given(row, named=True))
    deviation = service_answers(model.loaded, [row.tolist()], "aleatoric_std", mc_samples=10)
    assert found["aleatoric_std"] == pytest.approx(np.full((DRAWS, 1), deviation[0]))
