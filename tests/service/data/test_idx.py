"""IDX: one array or a ZIP of several, gzipped or not, in the parts that their names tell."""

import gzip
import io
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.data.formats import Limits
from service.errors import InvalidDataset, TooLarge
from tests.support.uploaded import LIMITS, Uploader

RANDOM = np.random.default_rng(0)
CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array: NDArray[Any]) -> bytes:
    """The array as the format's page describes it."""
    code = CODES[array.dtype.str[1:]]
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + shape + array.astype(array.dtype.newbyteorder(">")).tobytes()


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


IMAGES = RANDOM.integers(0, 256, (9, 4, 3)).astype("u1")
LABELS = (np.arange(9) % 3).astype("u1")


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_array_alone(upload: Uploader, dtype: str, pack: Any) -> None:
    array = (RANDOM.normal(size=(7, 2, 5)) * 50).astype(dtype if dtype != "u1" else "i2").astype(dtype)
    found = upload(pack(idx(array)), "idx")
    (column,) = found.profile.columns
    assert (column.name, column.type, column.shape) == ("image" if dtype == "u1" else "x", "tensor", (2, 5))
    assert column.mean == pytest.approx(array.astype(float).mean())
    read = found.read()[column.name].values
    assert np.array_equal(read, array) and read.dtype == array.dtype
    assert np.array_equal(found.read(rows=3)[column.name].values, array[:3])


def test_labels_alone(upload: Uploader) -> None:
    found = upload(idx(LABELS), "idx")
    assert found["label"].type == "integer" and sorted(found.listed("label")) == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images.idx3-ubyte.gz", "train-labels.idx1-ubyte.gz"),
        ("emnist/emnist-letters-test-images-idx3-ubyte.gz", "emnist/emnist-letters-test-labels-idx1-ubyte"),
        ("images.idx", "labels.idx"),
    ],
)
def test_images_and_labels(upload: Uploader, images: str, labels: str) -> None:
    def packed(name: str, array: NDArray[Any]) -> bytes:
        return gzip.compress(idx(array)) if name.endswith(".gz") else idx(array)

    members = {images: packed(images, IMAGES), labels: packed(labels, LABELS), "__MACOSX/._labels.idx": b"x"}
    found = upload(zipped(**members), "idx")
    assert [column.name for column in found.profile.columns] == ["image", "label"]
    assert found.profile.rows == 9
    assert np.array_equal(found.read("image")["image"].values, IMAGES)
    assert found.values("label") == LABELS.tolist()


def test_parts_stand_below_each_other_and_are_named(upload: Uploader) -> None:
    found = upload(
        zipped(
            **{
                "t10k-images-idx3-ubyte": idx(IMAGES[:4]),
                "t10k-labels-idx1-ubyte": idx(LABELS[:4]),
                "train-labels-idx1-ubyte.gz": gzip.compress(idx(LABELS)),
                "train-images-idx3-ubyte.gz": gzip.compress(idx(IMAGES)),
            }
        ),
        "idx",
    )
    assert found.profile.rows == 13
    assert found.listed("split") == [("train", 9), ("test", 4)]
    frame = found.read()
    assert np.array_equal(frame["image"].values, np.concatenate([IMAGES, IMAGES[:4]]))
    assert frame["label"].values.tolist() == [*LABELS, *LABELS[:4]]
    assert frame["split"].values.tolist() == ["train"] * 9 + ["test"] * 4
    for rows in (3, 9, 11):
        first = found.read(rows=rows)
        assert all(np.array_equal(first[name].values, frame[name].values[:rows]) for name in frame)


def test_other_names_are_columns(upload: Uploader) -> None:
    found = upload(zipped(**{"series.idx3-float": idx(IMAGES.astype("f4")), "y.idx": idx(LABELS)}), "idx")
    assert [column.name for column in found.profile.columns] == ["series", "y"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "which no IDX file does"),
        (b"\0\0\x08", "which no IDX file does"),
        (b"\0\0\x07\x01" + bytes(4), "begins with 00 00 07 01"),
        (b"\0\0\x08\x01" + struct.pack(">I", 0), r"shape \[0\] has no rows"),
        (b"\0\0\x08\x03" + bytes(5), "ends within its header"),
        (idx(LABELS)[:-1], "ends too early"),
        (idx(LABELS) + b"x", "goes on behind its last row"),
        (gzip.compress(idx(LABELS), mtime=0)[:-9], "the file.* cannot be read"),
        (b"\x1f\x8bnonsense", "the file.* cannot be read"),
        (zipped(**{"a/.hidden": b""}), "no rows"),
        (zipped(**{"images.idx": b"PNG"}), "'images.idx' cannot be read"),
        (zipped(**{"images.idx": idx(IMAGES), "labels.idx": idx(LABELS[:4])}), "differ in their number of rows"),
        (zipped(**{"a/images.idx": idx(IMAGES), "b/images.idx": idx(IMAGES)}), "would both be column 'image'"),
        (zipped(**{"train-images": idx(IMAGES), "test-images": idx(IMAGES[:, 1:])}), r"uint8 of shape \[3, 3\], those"),
        (
            zipped(**{"train-images": idx(IMAGES), "t10k-images": idx(IMAGES), "t10k-labels": idx(LABELS)}),
            "there is no file of column 'label' for part 'train'",
        ),
        (zipped(**{"train-split": idx(LABELS), "test-split": idx(LABELS)}), "'split' stands twice"),
    ],
)
def test_what_is_wrong_is_said(upload: Uploader, data: bytes, words: str) -> None:
    with pytest.raises(InvalidDataset, match=words):
        upload(data, "idx")


def test_a_bomb_is_refused_before_it_goes_off(upload: Uploader) -> None:
    header = b"\0\0\x08\x02" + struct.pack(">II", 1 << 30, 1 << 30)
    with pytest.raises(TooLarge):
        upload(gzip.compress(header + bytes(1000)), "idx")
    limits = Limits(LIMITS.max_columns, 200, LIMITS.max_json_bytes)
    with pytest.raises(TooLarge):
        upload(zipped(images=idx(IMAGES), other=idx(IMAGES)), "idx", limits)
