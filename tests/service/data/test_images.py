"""A ZIP of images by class folder: read as Pillow reads them, brought to one size, refused by name."""

import io
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.data import images
from service.data.formats import ImageOptions, Limits, contents_sha256, profile_file, read_frame
from service.errors import InvalidDataset, TooLarge
from tests.support.uploaded import LIMITS, Uploaded, Uploader

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 5, 4)).astype(np.uint8)
RGB = RANDOM.integers(0, 256, (6, 5, 4, 3)).astype(np.uint8)


def file_of(pixels: NDArray[np.uint8] | Image.Image, format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, format, **options)
    return file.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def profiled(upload: Uploader, data: bytes, options: ImageOptions) -> Uploaded:
    path = upload.folder / "images.zip"
    path.write_bytes(data)
    return Uploaded(path, "images", profile_file(path, "images", LIMITS, options))


@pytest.mark.parametrize("block", [7, 45, 1 << 20])
def test_images_and_their_classes(upload: Uploader, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(images, "BLOCK", block)
    members = {f"{'cat' if i % 2 else 'dog'}/{i}.png": file_of(pixels) for i, pixels in enumerate(GREY)}
    found = upload(zipped(members), "images")
    image, label = found.profile.columns
    assert (image.name, image.type, image.shape, image.dtype) == ("image", "tensor", (5, 4, 1), "uint8")
    assert (image.mean, image.std) == pytest.approx((GREY.astype(float).mean(), GREY.astype(float).std()))
    assert (label.name, label.type, found.listed("label")) == ("label", "category", [("cat", 3), ("dog", 3)])
    frame = found.read()
    assert np.array_equal(frame["image"].values, GREY[..., None])
    assert frame["label"].values.tolist() == ["dog", "cat"] * 3
    assert np.array_equal(found.read("image", rows=2)["image"].values, GREY[:2, ..., None])


def test_one_in_colour_makes_all_of_them_rgb(upload: Uploader) -> None:
    found = upload(zipped({"a/1.png": file_of(GREY[0]), "b/2.png": file_of(RGB[0])}), "images")
    expected = np.stack([np.repeat(GREY[0][..., None], 3, 2), RGB[0]])
    assert np.array_equal(found.read("image")["image"].values, expected)


def test_channels_and_size_that_were_asked_for(upload: Uploader) -> None:
    data = zipped({"a/1.png": file_of(GREY[0]), "b/2.png": file_of(RGB[0, :3])})
    found = profiled(upload, data, ImageOptions((8, 6), 1))
    assert found["image"].shape == (8, 6, 1)
    first, second = found.read("image")["image"].values
    how = Image.Resampling.BILINEAR
    assert np.array_equal(first[..., 0], Image.fromarray(GREY[0]).resize((6, 8), how))
    assert np.array_equal(second[..., 0], Image.fromarray(RGB[0, :3]).convert("L").resize((6, 8), how))
    with found.path.open("rb") as file:
        again = read_frame(iter(lambda: file.read(100), b""), "images", found.profile.columns)
    assert np.array_equal(again["image"].values, [first, second])


def test_the_size_alone_leaves_the_channels_to_the_images(upload: Uploader) -> None:
    data = zipped({"a/1.png": file_of(GREY[0]), "b/2.png": file_of(GREY[1, :3])})
    assert profiled(upload, data, ImageOptions(size=(2, 2)))["image"].shape == (2, 2, 1)
    data = zipped({"a/1.png": file_of(GREY[0]), "b/2.png": file_of(GREY[1])})
    assert profiled(upload, data, ImageOptions(channels=3))["image"].shape == (5, 4, 3)


def test_the_same_file_read_otherwise_is_other_data(upload: Uploader) -> None:
    data = zipped({"a/1.png": file_of(GREY[0])})
    ways = [ImageOptions(), ImageOptions(size=(5, 4)), ImageOptions(size=(4, 5)), ImageOptions(channels=3)]
    hashes = [contents_sha256("0" * 64, "images", profiled(upload, data, way).profile.columns) for way in ways]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
    assert contents_sha256("0" * 64, "csv", []) == "0" * 64


@pytest.mark.parametrize(
    ("format", "suffix", "options"),
    [
        ("JPEG", "jpeg", {"quality": 95}),
        ("GIF", "gif", {}),
        ("BMP", "BMP", {}),
        ("WEBP", "webp", {"lossless": True}),
        ("PNG", "Png", {}),
    ],
)
def test_formats(upload: Uploader, format: str, suffix: str, options: dict[str, Any]) -> None:
    data = file_of(RGB[0], format, **options)
    read = upload(zipped({f"a/1.{suffix}": data}), "images").read("image")["image"].values
    assert np.array_equal(read[0], Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_modes(upload: Uploader, mode: str) -> None:
    options = {"transparency": bytes(range(256))} if mode == "P" else {}
    data = file_of(Image.fromarray(RGB[0]).convert(mode), "PNG", **options)
    found = upload(zipped({"a/1.png": data}), "images")
    assert found["image"].shape == (5, 4, 1 if mode in ("1", "L", "LA") else 3)


@pytest.mark.parametrize(
    ("names", "labels", "parts"),
    [
        (["a/1.png", "b/1.png"], ["a", "b"], None),
        (["pets/a/1.png", "pets/b/1.png"], ["a", "b"], None),
        (["x/pets/a/1.png", "x/pets/b/1.png"], ["a", "b"], None),
        (["a/x/1.png", "b/1.png"], ["a", "b"], None),
        (["pets\\a\\1.png", "pets\\b\\1.png"], ["a", "b"], None),
        (["train/a/1.png", "train/b/1.png"], ["a", "b"], None),
        (["train/1.png", "test/1.png"], ["train", "test"], None),
        (["d/Train/a/1.png", "d/Test/a/1.png", "d/val/b/x/2.png"], ["a", "a", "b"], ["train", "test", "validation"]),
        (["./a/1.png", "__MACOSX/a/._1.png", "a/.DS_Store", "b/Thumbs.db", "b/1.png", "b/"], ["a", "b"], None),
        (["ü/1.png"], ["ü"], None),
    ],
)
def test_folders(upload: Uploader, names: list[str], labels: list[str], parts: list[str] | None) -> None:
    found = upload(zipped({name: file_of(GREY[0]) if name.endswith("g") else b"" for name in names}), "images")
    assert found.values("label") == labels
    assert [column.name for column in found.profile.columns] == ["image", "label", *(["split"] if parts else [])]
    assert parts is None or found.values("split") == parts


def broken(data: bytes) -> bytes:
    return data[:60] + bytes(20) + data[80:]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "holds no images"),
        ({"a/notes.txt": b"x"}, "'a/notes.txt' is not an image"),
        ({"1.png": b""}, "'1.png' lies in no folder"),
        ({"NA/1.png": b""}, "folder 'NA' of 'NA/1.png' stands for a missing value"),
        ({"a/1.png": b"not a png"}, "'a/1.png' cannot be read as an image"),
        ({"a/1.png": file_of(GREY[0])[:-30]}, "'a/1.png' cannot be read as an image"),
        ({"a/1.png": broken(file_of(RGB[0]))}, "'a/1.png' cannot be read as an image"),
        ({"a/1.png": file_of(RGB[0], "TIFF")}, "'a/1.png' cannot be read as an image"),
        ({"a/1.png": file_of(Image.fromarray(GREY[0].astype(np.uint16)))}, "'a/1.png' has more than 8 bits"),
        (
            {"a/1.png": file_of(GREY[0]), "b/2.png": file_of(GREY[0, :3])},
            r"'b/2.png' has 3 x 4 pixels \(height x width\), 'a/1.png' has 5 x 4; upload with \?image_size=5x4",
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_member(upload: Uploader, members: dict[str, bytes], words: str) -> None:
    with pytest.raises(InvalidDataset, match=words):
        upload(zipped(members), "images")


def test_an_encrypted_member_is_refused(upload: Uploader) -> None:
    data = bytearray(zipped({"a/1.png": file_of(GREY[0])}))
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(InvalidDataset, match=r"'a/1\.png' is encrypted"):
        upload(bytes(data), "images")


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header claims a size."""
    image = bytearray(file_of(GREY[0]))
    image[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    image[29:33] = zlib.crc32(bytes(image[12:29])).to_bytes(4, "big")
    return bytes(image)


@pytest.mark.parametrize("size", [(9000, 9000), (12_000, 12_000), (60_000, 60_000)])
def test_a_picture_that_claims_to_be_huge_is_refused(upload: Uploader, size: tuple[int, int]) -> None:
    data = zipped({"a/1.png": png_of_size(*size)})
    for options in (ImageOptions(), ImageOptions((4, 4), 1)):
        with pytest.raises(InvalidDataset, match=r"'a/1\.png' "):
            profiled(upload, data, options)


def test_what_unpacks_to_too_much_is_refused(upload: Uploader) -> None:
    data = zipped({f"a/{i}.png": file_of(np.zeros((100, 100), np.uint8)) for i in range(20)})
    limits = Limits(LIMITS.max_columns, 190_000, LIMITS.max_json_bytes)
    with pytest.raises(TooLarge, match="array of images unpacks to 200000 bytes"):
        upload(data, "images", limits)
    with pytest.raises(TooLarge):
        upload(data, "images", Limits(LIMITS.max_columns, 1000, LIMITS.max_json_bytes))
