"""Every format read some rows at a time: the same values as read at once."""

import gzip
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest

from service.data.formats import read_batches
from service.data.profile import ColumnProfile
from service.errors import InvalidDataset
from tests.service.data.test_idx import idx
from tests.service.data.test_idx import zipped as idx_zip
from tests.service.data.test_images import file_of
from tests.service.data.test_images import zipped as image_zip
from tests.support.uploaded import Uploaded, Uploader

RANDOM = np.random.Generator(np.random.Philox(0))
ROWS = 23
NUMBERS, WORDS = RANDOM.normal(size=ROWS), RANDOM.choice(["a", "b, c", "d\ne"], ROWS)
TENSORS = RANDOM.integers(0, 255, (ROWS, 4, 3)).astype("u1")
TABLE = pl.DataFrame({"x": NUMBERS, "word": WORDS, "yes": NUMBERS > 0})


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    TABLE.with_columns(t=pl.Series(TENSORS.tolist())).write_parquet(file, row_group_size=7)
    return file.getvalue()


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "csv": ("csv", lambda: TABLE.write_csv().encode()),
    "json": ("json", lambda: orjson.dumps([{**row, "t": [1, 2]} for row in TABLE.to_dicts()])),
    "lines": ("json", lambda: b"\n".join(orjson.dumps(row) for row in TABLE.to_dicts())),
    "parquet": ("parquet", parquet),
    "npz": ("npz", lambda: npz(x=NUMBERS, t=TENSORS, word=WORDS)),
    "npz by columns": ("npz", lambda: npz(t=np.asfortranarray(TENSORS), word=WORDS)),
    "images": ("images", lambda: image_zip({f"{'ab'[i % 2]}/{i}.png": file_of(t) for i, t in enumerate(TENSORS)})),
    "idx": (
        "idx",
        lambda: idx_zip(**{"images-idx3": idx(TENSORS), "labels-idx1": gzip.compress(idx(TENSORS[:, 0, 0]))}),
    ),
    "idx in parts": (
        "idx",
        lambda: idx_zip(
            **{
                "train-images-idx3": idx(TENSORS),
                "train-labels-idx1": idx(TENSORS[:, 0, 0]),
                "t10k-images-idx3": idx(TENSORS[:5]),
                "t10k-labels-idx1": idx(TENSORS[:5, 0, 0]),
            }
        ),
    ),
}


def batches(found: Uploaded, rows: int, wanted: list[ColumnProfile] | None = None) -> list[dict[str, Any]]:
    columns = found.profile.columns
    return list(read_batches(found.path, found.format, columns, wanted or columns, rows))


@pytest.mark.parametrize("rows", [1, 5, 23, 1000])
@pytest.mark.parametrize("name", FILES)
def test_batches_are_the_whole(name: str, rows: int, upload: Uploader) -> None:
    format, data = FILES[name]
    found = upload(data(), format)
    whole, parts = found.read(), batches(found, rows)
    assert all(len(part[column].values) <= rows for part in parts for column in whole)
    for column, expected in whole.items():
        values = np.concatenate([part[column].values for part in parts])
        assert values.dtype == expected.values.dtype
        assert values.tolist() == expected.values.tolist()
        assert {part[column].kind for part in parts} == {expected.kind}


def test_only_the_columns_wanted_are_read_in_their_order(upload: Uploader) -> None:
    found = upload(FILES["parquet"][1](), "parquet")
    (frame,) = batches(found, 100, [found["word"], found["x"]])
    assert list(frame) == ["word", "x"]


def test_a_column_is_read_as_the_type_that_is_wanted(upload: Uploader) -> None:
    found = upload("code,n\n7,1\n12,2\n", "csv")
    assert found["code"].type == "integer"
    (frame,) = batches(found, 10, [ColumnProfile(name="code", type="category")])
    assert frame["code"].kind == "category" and frame["code"].values.tolist() == ["7", "12"]
    with pytest.raises(InvalidDataset) as caught:
        batches(upload("word\na\n1\n", "csv"), 10, [ColumnProfile(name="word", type="number")])
    assert caught.value.problems[0].path == "word"
