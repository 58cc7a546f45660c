"""Augmentation against torch's and NumPy's own flips, turns and shifts, formulas, and shares over many draws."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from scipy import ndimage, stats
from torch import Tensor

from service.blocks.augmentation import AnyAugmentation, Augmentation, rectangle

UNION: TypeAdapter[Augmentation] = TypeAdapter(AnyAugmentation)
MANY = 20_000


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


COS30 = math.sqrt(0.75)
SQUARE, WIDE = images(5, 2, 7, 7), images(5, 2, 6, 9)


def applied(x: Tensor, kind: str, seed: int = 0, **fields: Any) -> Tensor:
    step = UNION.validate_python({"type": kind, **fields})
    return step.apply(x, torch.Generator().manual_seed(seed))


def exactly(value: float) -> list[float]:
    return [value, value]


@pytest.mark.parametrize(
    ("mode", "axes"), [("horizontal", (-1,)), ("vertical", (-2,)), ("horizontal_and_vertical", (-2, -1))]
)
def test_flips_that_are_certain_are_those_of_torch(mode: str, axes: tuple[int, ...]) -> None:
    assert torch.equal(applied(WIDE, "random_flip", mode=mode, probability=1.0), WIDE.flip(axes))
    assert torch.equal(applied(WIDE, "random_flip", mode=mode, probability=0.0), WIDE)


def test_each_flip_comes_as_often_as_asked_and_by_itself() -> None:
    corners = torch.arange(4.0).view(1, 1, 2, 2).expand(MANY, 1, 2, 2)
    first = applied(corners, "random_flip", mode="horizontal_and_vertical", probability=0.3)[:, 0, 0, 0].int()
    expected = torch.tensor([0.7 * 0.7, 0.3 * 0.7, 0.7 * 0.3, 0.3 * 0.3])
    torch.testing.assert_close(first.bincount() / MANY, expected, atol=0.015, rtol=0)


@pytest.mark.parametrize("fill_mode", ["reflect", "nearest", "constant"])
@pytest.mark.parametrize("quarters", [-2, -1, 0, 1, 2])
def test_a_quarter_turn_is_that_of_torch(quarters: int, fill_mode: str) -> None:
    turned = {"degrees": exactly(90.0 * quarters), "fill_mode": fill_mode}
    expected = SQUARE.rot90(quarters, dims=(-2, -1))
    assert torch.equal(applied(SQUARE, "random_rotation", interpolation="nearest", **turned), expected)
    torch.testing.assert_close(applied(SQUARE, "random_rotation", **turned), expected, atol=1e-5, rtol=0)


def test_an_image_that_is_not_square_is_turned_without_being_stretched() -> None:
    # A quarter turn of a wide image: the square in its middle is turned, what was above and below is beyond the edges.
    x = images(3, 1, 5, 11)
    turned = applied(x, "random_rotation", degrees=exactly(90), interpolation="nearest", fill_mode="constant")
    assert torch.equal(turned[..., 3:8], x[..., 3:8].rot90(1, dims=(-2, -1)))
    assert (turned[..., :3] == 0).all() and (turned[..., 8:] == 0).all()


def by_scipy(image: Tensor, matrix: list[list[float]], shift: list[float], mode: str) -> Tensor:
    """Return a channel whose value at (y, x) from the centre is the one that was at `matrix @ (y, x) + shift`."""
    m = np.array(matrix)
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - m @ centre + np.array(shift)
    moved = ndimage.affine_transform(image.double().numpy(), m, offset, order=1, mode=mode)
    return torch.from_numpy(moved).float()


@pytest.mark.parametrize("mode", ["reflect", "nearest"])
@pytest.mark.parametrize(
    ("kind", "fields", "matrix", "shift"),
    [
        ("random_rotation", {"degrees": exactly(30.0)}, [[COS30, 0.5], [-0.5, COS30]], [0, 0]),
        ("random_zoom", {"scale": exactly(1.6)}, [[1 / 1.6, 0], [0, 1 / 1.6]], [0, 0]),
        ("random_zoom", {"scale": exactly(0.4)}, [[2.5, 0], [0, 2.5]], [0, 0]),
        ("random_shear", {"x_factor": exactly(0.7)}, [[1, 0], [0.7, 1]], [0, 0]),
        ("random_shear", {"x_factor": exactly(0), "y_factor": exactly(-0.3)}, [[1, -0.3], [0, 1]], [0, 0]),
        (
            "random_translation",
            {"height_factor": exactly(0.25), "width_factor": exactly(-0.4)},
            [[1, 0], [0, 1]],
            [-0.25 * 6, 0.4 * 9],
        ),
    ],
)
def test_resampling_is_that_of_scipy(
    kind: str, fields: dict[str, Any], matrix: list[list[float]], shift: list[float], mode: str
) -> None:
    found = applied(WIDE, kind, fill_mode=mode, **fields)
    expected = torch.stack([torch.stack([by_scipy(c, matrix, shift, mode) for c in image]) for image in WIDE])
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("down", "right"), [(2, 0), (0, -3), (-1, 4)])
def test_translation_by_whole_pixels_moves_them_and_fills_what_is_left(down: int, right: int) -> None:
    factors = {"height_factor": exactly(down / 6), "width_factor": exactly(right / 9)}
    moved = applied(WIDE, "random_translation", fill_mode="constant", fill_value=7.0, **factors)
    padded = torch.nn.functional.pad(WIDE, (9, 9, 6, 6), value=7.0)
    expected = padded[..., 6 - down : 12 - down, 9 - right : 18 - right]
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)
    nearest = applied(WIDE, "random_translation", fill_mode="constant", interpolation="nearest", **factors)
    assert torch.equal(nearest, torch.where(expected == 7.0, 0.0, expected))


def test_angles_are_uniform_over_their_range() -> None:
    # The one bright pixel tells the angle: it is moved from the right of the centre onto a circle.
    x = torch.zeros(2000, 1, 41, 41)
    x[:, :, 20, 40] = 1.0
    turned = applied(x, "random_rotation", degrees=[-40.0, 20.0], fill_mode="constant")[:, 0]
    weights = turned / turned.sum(dim=(1, 2), keepdim=True)
    place = torch.arange(41) - 20.0
    up, right = -(weights.sum(2) @ place), weights.sum(1) @ place
    angles = torch.rad2deg(torch.atan2(up, right)).double().numpy()
    assert stats.kstest(angles, stats.uniform(-40, 60).cdf).statistic < 0.05


@pytest.mark.parametrize(
    ("mode", "pad"), [("constant", {"constant_values": 7.0}), ("reflect", {}), ("nearest", {})], ids=str
)
def test_crops_are_windows_of_the_padded_image(mode: str, pad: dict[str, Any]) -> None:
    numpy_mode = {"reflect": "symmetric", "nearest": "edge"}.get(mode, mode)
    x = images(400, 1, 4, 6)
    cropped = applied(x, "random_crop", padding=2, fill_mode=mode, fill_value=7.0)
    padded = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode=numpy_mode, **pad))
    windows = padded.unfold(2, 4, 1).unfold(3, 6, 1).reshape(400, 25, 4, 6)
    same = (windows == cropped).all(dim=(2, 3))
    assert same.any(dim=1).all()
    chosen = same.int().argmax(dim=1).bincount(minlength=25)
    assert stats.chisquare(chosen.numpy()).pvalue > 0.01


def test_brightness_adds_one_number_and_channel_shift_one_a_channel() -> None:
    x = images(MANY, 3, 2, 2)
    for kind, channels in (("random_brightness", 1), ("random_channel_shift", 3)):
        added = applied(x, kind, factor=[-0.2, 0.6]) - x
        one = added.mean(dim=(2, 3))
        torch.testing.assert_close(added, one[:, :, None, None].expand_as(added), atol=1e-5, rtol=0)
        apart = one.std(dim=1).mean().item()
        assert apart < 1e-5 if channels == 1 else apart > 0.1
        assert stats.kstest(one[:, 0].double().numpy(), stats.uniform(-0.2, 0.8).cdf).statistic < 0.015


def test_contrast_stretches_about_the_mean_of_each_channel() -> None:
    x = images(MANY, 2, 3, 4)
    out = applied(x, "random_contrast", factor=0.5)
    torch.testing.assert_close(out.mean(dim=(2, 3)), x.mean(dim=(2, 3)), atol=1e-5, rtol=0)
    factor = out.std(dim=(2, 3)) / x.std(dim=(2, 3))
    torch.testing.assert_close(factor[:, 0], factor[:, 1], atol=1e-4, rtol=1e-4)
    assert stats.kstest(factor[:, 0].double().numpy(), stats.uniform(0.5, 1.0).cdf).statistic < 0.015
    doubled = applied(x, "random_contrast", factor=exactly(2.0))
    mean = x.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(doubled, mean + 2 * (x - mean), atol=1e-5, rtol=0)


def test_contrast_is_the_same_whatever_the_scale_of_the_channels() -> None:
    scale, shift = torch.tensor([2.0, 0.5]).view(2, 1, 1), torch.tensor([-1.0, 3.0]).view(2, 1, 1)
    scaled = applied(WIDE * scale + shift, "random_contrast", factor=0.9)
    torch.testing.assert_close(scaled, applied(WIDE, "random_contrast", factor=0.9) * scale + shift)


def test_saturation_goes_from_grey_to_more_colour() -> None:
    x = images(4, 3, 2, 2)
    grey = x.mean(dim=1, keepdim=True)
    torch.testing.assert_close(applied(x, "random_saturation", factor=exactly(0.0)), grey.expand_as(x))
    torch.testing.assert_close(applied(x, "random_saturation", factor=exactly(1.0)), x)
    torch.testing.assert_close(applied(x, "random_saturation", factor=exactly(3.0)), grey + 3 * (x - grey))


@pytest.mark.parametrize("shape", [(6,), (3, 5), (1, 4, 4)])
def test_noise_is_gaussian(shape: tuple[int, ...]) -> None:
    x = images(MANY, *shape)
    added = (applied(x, "random_noise", std=0.25) - x).flatten().double().numpy()[:MANY]
    assert stats.kstest(added, stats.norm(0, 0.25).cdf).statistic < 0.015


def test_erased_areas_are_rectangles_of_the_asked_size_shape_and_frequency() -> None:
    x = torch.zeros(4000, 2, 40, 60)  # in which all of these fit
    out = applied(x, "random_erasing", probability=0.8, scale=[0.1, 0.3], ratio=[0.5, 2.0], fill_value=1.0)
    assert torch.equal(out[:, 0], out[:, 1])
    erased = out[:, 0].bool()
    hit = erased.any(dim=(1, 2))
    assert abs(hit.float().mean().item() - 0.8) < 0.02
    erased = erased[hit]
    rows, columns = erased.any(2).sum(1), erased.any(1).sum(1)
    assert torch.equal(rows * columns, erased.sum(dim=(1, 2)))
    area = (rows * columns / (40 * 60)).double().numpy()
    assert stats.kstest(area, stats.uniform(0.1, 0.2).cdf).statistic < 0.04
    ratio = torch.log2(rows / columns).double().numpy()
    assert stats.kstest(ratio, stats.uniform(-1, 2).cdf).statistic < 0.04
    centre = erased.float().mean(dim=0)
    torch.testing.assert_close(centre, centre.flip(0), atol=0.05, rtol=0)
    torch.testing.assert_close(centre, centre.flip(1), atol=0.05, rtol=0)


def test_what_is_erased_without_a_value_is_noise_between_the_smallest_and_largest_of_the_image() -> None:
    x = images(2000, 1, 8, 8) * 3 + 5
    out = applied(x, "random_erasing", probability=1.0, scale=[0.2, 0.4])
    low, high = x.amin(dim=(1, 2, 3), keepdim=True), x.amax(dim=(1, 2, 3), keepdim=True)
    noise = ((out - low) / (high - low))[out != x]
    assert len(noise) > 0.25 * x.numel()
    assert stats.kstest(noise.double().numpy()[:MANY], stats.uniform().cdf).statistic < 0.015


def test_where_no_rectangle_fits_the_image_stays() -> None:
    x = images(50, 1, 4, 40)
    assert torch.equal(applied(x, "random_erasing", probability=1.0, scale=[0.9, 1.0], ratio=[1.0, 1.0]), x)


def test_a_rectangle_has_the_pixels_whose_centres_it_covers() -> None:
    sides = [torch.tensor([value]).view(1, 1, 1, 1) for value in (1.0, 0.4, 2.0, 1.2)]
    assert rectangle(torch.zeros(1, 3, 4, 3), *sides)[0, 0].nonzero().tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]


@pytest.mark.parametrize(
    ("given", "kept"), [(10, (-10.0, 10.0)), (0.5, (-0.5, 0.5)), ([-5, 20], (-5.0, 20.0)), (0, (0.0, 0.0))]
)
def test_a_number_stands_for_a_range_around_the_middle(given: Any, kept: tuple[float, float]) -> None:
    step = UNION.validate_python({"type": "random_rotation", "degrees": given})
    assert step.model_dump()["degrees"] == kept
    assert UNION.validate_python(step.model_dump(mode="json")) == step


def test_a_range_around_one_reaches_its_bounds() -> None:
    step = UNION.validate_python({"type": "random_zoom", "scale": 0.9})
    assert step.model_dump()["scale"] == (0.1, 1.9)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "random_rotation", "degrees": bad}
        for bad in (
            -1,
            181,
            [20, 10],
            [0],
            [0, 1, 2],
            "10",
            True,
            [False, True],
            None,
            math.nan,
            [0, math.inf],
            10**400,
        )
    ]
    + [
        {"type": "random_zoom", "scale": 1},
        {"type": "random_zoom", "scale": [0, 1]},
        {"type": "random_erasing", "scale": [0.4, 0.2]},
        {"type": "random_erasing", "ratio": [2.0, 0.5]},
        {"type": "random_erasing", "probability": 1.1},
        {"type": "random_flip", "mode": "diagonal"},
        {"type": "random_crop", "padding": 0},
        {"type": "random_noise", "std": 0},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        UNION.validate_python(fields)
