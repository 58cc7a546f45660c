"""NPZ: every layout and type of array, and archives that are broken or hostile."""

import io
import zipfile
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.data import arrays
from service.data.formats import Limits
from service.errors import InvalidDataset, TooLarge
from tests.support.uploaded import LIMITS, Uploader

RANDOM = np.random.default_rng(0)


def archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zip_file:
        for name, data in members.items():
            zip_file.writestr(f"{name}.npy", data)
    return file.getvalue()


def npy(array: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("array", "type"),
    [
        (np.arange(5, dtype=np.int8), "integer"),
        (np.arange(5, dtype=np.uint64), "integer"),
        (np.arange(5, dtype=">i4"), "integer"),
        (np.arange(5, dtype=np.float16), "number"),
        (np.arange(5, dtype=">f8"), "number"),
        (np.arange(5, dtype=np.longdouble), "number"),
        (np.array([True, False, True, True, False]), "boolean"),
        (np.array(["a", "b", "ü", "a", ""]), "category"),
        (np.array([b"a", b"b", "ü".encode(), b"a", b"b"]), "category"),
        (np.arange(5)[:, None], "integer"),
        (np.array([2**60, 2**60 + 1, 0, 0, 0]), "category"),
    ],
    ids=lambda value: str(value.dtype) + str(value.ndim) if isinstance(value, np.ndarray) else "",
)
def test_scalars(upload: Uploader, array: NDArray[Any], type: str) -> None:
    found = upload(archive(x=array), "npz")
    assert found["x"].type == type
    if type != "category":
        assert found.values("x") == array.ravel().astype(float).tolist()


def test_text(upload: Uploader) -> None:
    found = upload(archive(x=np.array([" a ", "NA", "ü"])), "npz")
    assert found.values("x") == ["a", None, "ü"]
    assert found["x"].missing == 1


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", ">f8", "bool"])
@pytest.mark.parametrize("block", [16, 1 << 20])
def test_tensors(upload: Uploader, monkeypatch: pytest.MonkeyPatch, order: Any, dtype: str, block: int) -> None:
    monkeypatch.setattr(arrays, "BLOCK", block)
    array = np.asarray(RANDOM.integers(0, 9, (7, 3, 2)), dtype, order=order)
    found = upload(archive(x=array, y=np.arange(7)), "npz")
    x = found["x"]
    assert (x.type, x.shape, x.dtype) == ("tensor", (3, 2), np.dtype(dtype).newbyteorder("=").name)
    assert (x.mean, x.std) == pytest.approx((array.astype(float).mean(), array.astype(float).std()))
    read = found.read("x")["x"].values
    assert np.array_equal(read, array) and read.dtype.isnative
    assert np.array_equal(found.read("x", rows=2)["x"].values, array[:2])


def test_tensors_count_what_is_not_finite(upload: Uploader) -> None:
    x = upload(archive(x=np.array([[1, np.nan], [np.inf, 3]])), "npz")["x"]
    assert (x.missing, x.infinite, x.mean) == (1, 1, 2)


def test_digits(upload: Uploader, digits_npz: bytes) -> None:
    found = upload(digits_npz, "npz")
    types = {column.type for column in found.profile.columns}
    assert found.profile.rows == 1797 and "tensor" in types


def test_an_object_array_is_refused_and_never_unpickled(upload: Uploader) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("unpickled",))

    bomb = np.array([Bomb()], dtype=object)
    with pytest.raises(InvalidDataset) as caught:
        upload(zipped(x=npy(bomb, allow_pickle=True)), "npz")
    assert caught.value.problems[0].path == "x"


HEADER = b"\x93NUMPY\x01\x00v\x00{'descr': '%s', 'fortran_order': False, 'shape': %s, }"


def header(descr: bytes, shape: bytes) -> bytes:
    return (HEADER % (descr, shape)).ljust(127) + b"\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 not really",
        archive(x=np.arange(5))[:-30],
        zipped(x=b"nothing"),
        zipped(x=npy(np.arange(5))[:-3]),
        zipped(x=header(b"<f8", b"(-3,)")),
        zipped(x=header(b"<f8", b"(3.5,)")),
        zipped(x=header(b"<f8", b"(9,)")),
        zipped(x=header(b"no", b"(9,)")),
        zipped(x=header(b"<U0", b"(9,)")),
        archive(x=np.float64(3)),
        archive(x=np.empty((0, 3))),
        archive(x=np.array([1j])),
        archive(x=np.array(["2020-01-01"], "M8[D]")),
        archive(x=np.array([(1, 2.0)], "i4,f8")),
        archive(x=np.array([["a", "b"]])),
        archive(x=np.array([b"\xff"])),
        archive(x=np.arange(5), y=np.arange(6)),
        archive(),
    ],
    ids=[
        "empty", "no-zip", "cut", "no-npy", "cut-array", "negative-shape", "broken-shape", "too-short", "broken-type",
        "text-of-no-width", "scalar", "no-rows", "complex", "dates", "records", "text-in-2d", "no-utf8", "lengths",
        "no-arrays",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(upload: Uploader, data: bytes) -> None:
    with pytest.raises(InvalidDataset):
        upload(data, "npz")


def test_a_member_that_is_no_array_is_refused(upload: Uploader) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zip_file:
        zip_file.writestr("readme.txt", "hello")
    with pytest.raises(InvalidDataset, match=r"readme\.txt"):
        upload(file.getvalue(), "npz")


def test_lengths_that_differ_are_named(upload: Uploader) -> None:
    with pytest.raises(InvalidDataset) as caught:
        upload(archive(x=np.arange(5), y=np.arange(6)), "npz")
    assert caught.value.problems[0].got == {"x": 5, "y": 6}


def test_the_unpacked_size_is_capped_before_anything_is_unpacked(upload: Uploader) -> None:
    limits = Limits(10, 1000, 1000)
    assert upload(archive(x=np.zeros(125)), "npz", limits).profile.rows == 125
    for data in (archive(x=np.zeros(126)), archive(x=np.zeros(100), y=np.zeros(100))):
        with pytest.raises(TooLarge):
            upload(data, "npz", limits)
    with pytest.raises(TooLarge):
        upload(zipped(x=header(b"<f8", b"(99999999999, 99999999999)")), "npz", LIMITS)


def test_too_many_arrays(upload: Uploader) -> None:
    with pytest.raises(TooLarge):
        upload(archive(**{f"x{i}": np.zeros(2) for i in range(11)}), "npz", Limits(10, 10**9, 10**9))
