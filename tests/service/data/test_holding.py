"""Integers that stay integers until the batch: the same bits as steps that are applied at once."""

from typing import Any

import numpy as np
import pytest
import torch

from service.data.features import Features
from service.data.frame import Column, Frame
from service.data.holding import Holding, held_dtype
from service.data.profile import ColumnProfile
from service.errors import InvalidRows
from service.spec import DataSpec
from tests.support.uploaded import spec_of

RANDOM = np.random.default_rng(0)
LATE: list[list[Any]] = [
    [],
    ["standardize"],
    ["channel_mean"],
    ["zero_center"],
    ["robust"],
    [{"type": "min_max", "range": [-1.0, 1.0]}],
    ["zero_center", "standardize", "min_max"],
]
EARLY: list[list[Any]] = [["image_mean"], ["standardize", "image_mean"], ["arctan"], ["pca_whitening"]]
SHAPES: list[tuple[tuple[int, ...], str]] = [((6, 5, 3), "auto"), ((6, 5), "auto"), ((7,), "auto"), ((4, 3), "none")]


def given(shape: tuple[int, ...], dtype: str, layout: str, steps: list[Any]) -> tuple[DataSpec, Any, Frame]:
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.iinfo("int16")
    values = RANDOM.integers(limits.min, limits.max + 1, (40, *shape)).astype(dtype)
    columns = [
        ColumnProfile(name="x", type="tensor", shape=shape, dtype=dtype, min=values.min(), max=values.max()),
        ColumnProfile(name="y", type="integer"),
    ]
    data = spec_of(target="y", image_layout=layout, preprocessing=steps).data
    return data, columns, {"x": Column("tensor", values), "y": Column("number", np.arange(40.0))}


@pytest.mark.parametrize("steps", LATE, ids=str)
@pytest.mark.parametrize(("shape", "layout"), SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
def test_steps_that_wait_give_the_bits_of_steps_that_do_not(
    shape: tuple[int, ...], layout: str, dtype: str, steps: list[Any]
) -> None:
    data, columns, frame = given(shape, dtype, layout, steps)
    features = Features.fit(data, columns, [frame])
    holding = Holding(features)
    held = holding.of(frame)
    assert held.dtype == holding.dtype == held_dtype(data, columns) == np.dtype(dtype)
    assert held.flags.c_contiguous and held.shape[1:] == features.input_shape
    found = holding.in_batch(torch.device("cpu"))(torch.from_numpy(held))
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), features.transform(frame))


@pytest.mark.parametrize("steps", EARLY, ids=str)
def test_what_cannot_wait_is_done_at_once(steps: list[Any]) -> None:
    data, columns, frame = given((6, 5, 3), "uint8", "auto", steps)
    features = Features.fit(data, columns, [frame])
    holding = Holding(features)
    assert not holding.waits and held_dtype(data, columns) == np.float32
    assert np.array_equal(holding.of(frame), features.transform(frame))
    assert holding.in_batch(torch.device("cpu"))(x := torch.ones(2)) is x


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "uint16"])
def test_other_elements_are_float32(dtype: str) -> None:
    data, columns, frame = given((3,), dtype, "auto", ["standardize"])
    assert held_dtype(data, columns) == np.float32
    assert Holding(Features.fit(data, columns, [frame])).of(frame).dtype == np.float32


def test_a_scale_that_float32_cannot_hold_is_found_before_the_first_batch() -> None:
    steps = [{"type": "min_max", "range": [0.0, 1e300]}]
    data, columns, frame = given((6, 5, 3), "uint8", "auto", steps)
    holding = Holding(Features.fit(data, columns, [frame]))
    with pytest.raises(InvalidRows, match="finite"):
        holding.check(columns)
