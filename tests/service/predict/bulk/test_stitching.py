"""Parquet files put together are one Parquet file, whatever is in them."""

import io
from typing import Any

import polars as pl
import pytest

from service.data.thrift import ThriftReader, encode
from service.predict.bulk.stitching import Stitcher


def written(table: pl.DataFrame, **options: Any) -> bytes:
    file = io.BytesIO()
    table.write_parquet(file, **options)
    return file.getvalue()


def table(start: int, rows: int, columns: int = 3) -> pl.DataFrame:
    places = range(start, start + rows)
    return pl.DataFrame(
        {
            "number": [i / 7 for i in places],
            "word": pl.Series([None if i % 5 == 0 else f"w{i % 11}" for i in places], dtype=pl.String),
            "list": pl.Series([[float(i)] * (i % 3) for i in places], dtype=pl.List(pl.Float64)),
            "struct": [{"a b": i, "ü.c": {"d": -i}} for i in places],
            **{f"c{k}": [i * k for i in places] for k in range(columns)},
        }
    )


def stitched(*files: bytes) -> bytes:
    stitcher = Stitcher()
    return b"".join([*(stitcher.add(file) for file in files), stitcher.end()])


@pytest.mark.parametrize("columns", [0, 3, 20])
@pytest.mark.parametrize("compression", ["zstd", "snappy", "uncompressed"])
@pytest.mark.parametrize("statistics", [True, "full", False])
def test_the_rows_are_those_of_all_files(columns: int, compression: str, statistics: bool | str) -> None:
    sizes = [1, 40, 7, 300]
    parts = [table(sum(sizes[:i]), size, columns) for i, size in enumerate(sizes)]
    options = {"compression": compression, "statistics": statistics, "row_group_size": 100}
    whole = stitched(*(written(part, **options) for part in parts))
    assert pl.read_parquet(whole).equals(pl.concat(parts))


def test_it_is_read_by_row_groups_and_by_what_is_in_them(tmp_path: Any) -> None:
    path = tmp_path / "whole.parquet"
    path.write_bytes(stitched(*(written(table(start, 100)) for start in range(0, 2_000, 100))))
    lazy = pl.scan_parquet(path)
    assert lazy.slice(1_234, 3).collect().equals(table(1_234, 3))
    assert lazy.filter(pl.col("number") == 1_500 / 7).collect().equals(table(1_500, 1))
    assert lazy.select(pl.len()).collect().item() == 2_000


def test_metadata_are_those_of_the_first() -> None:
    files = [written(table(0, 3), metadata={"of": name}) for name in ("first", "second")]
    assert pl.read_parquet_metadata(io.BytesIO(stitched(*files)))["of"] == "first"


def test_one_file_stays_as_it_is() -> None:
    file = written(table(0, 50))
    assert stitched(file) == file


def test_what_breaks_off_is_no_parquet() -> None:
    stitcher = Stitcher()
    begun = stitcher.add(written(table(0, 50)))
    with pytest.raises(pl.exceptions.ComputeError):
        pl.read_parquet(begun)
    with pytest.raises(ValueError, match="nothing"):
        Stitcher().end()


def test_thrift_gives_back_what_it_was_given() -> None:
    value = {
        1: (1, None), 2: (2, None), 3: (3, b"\x07"), 4: (4, -3), 40: (5, 2**31 - 1), 41: (6, -(2**62)),
        42: (7, b"12345678"), 43: (8, "ü".encode() * 200), 44: (9, (5, list(range(-20, 20)))), 45: (9, (1, [1, 2, 1])),
        46: (12, {1: (9, (12, [{}, {1: (6, 0)}]))}), 47: (10, (8, [b"", b"x"])),
    }  # fmt: skip
    assert ThriftReader(encode(value)).struct() == value
