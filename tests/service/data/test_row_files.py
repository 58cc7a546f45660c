"""Files of rows without a profile: read as a model's columns, and every cell that does not fit is found."""

import subprocess
import sys
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from service.data import row_files
from service.data.footers import unpacked_row
from service.data.frame import Column, Frame, rows_of
from service.data.numbering import numbered, row_of
from service.data.profile import ColumnProfile
from service.data.recutting import recut
from service.data.row_files import open_rows
from service.errors import InvalidDataset, InvalidRows, Problem, TooLarge

NUMBER = ColumnProfile(name="n", type="number")
FLAG = ColumnProfile(name="b", type="boolean")
WORD = ColumnProfile(name="w", type="category")
TENSOR = ColumnProfile(name="t", type="tensor", shape=(2, 2), dtype="float64")
ALL = (NUMBER, FLAG, WORD)
ROWS = 9_000


def table(rows: int = ROWS) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "extra": ["x"] * rows,
            "w": [f"w{i % 3}" for i in range(rows)],
            "n": [i / 2 for i in range(rows)],
            "b": [i % 2 == 0 for i in range(rows)],
        }
    )


def save(folder: Path, content: pl.DataFrame, format: str, **options: Any) -> Path:
    path = folder / format
    {"parquet": content.write_parquet, "csv": content.write_csv, "json": content.write_ndjson}[format](path, **options)
    return path


def read(path: Path, columns: Any = ALL, fillable: Any = ()) -> list[Frame]:
    file = open_rows(path, path.name, columns, fillable)
    file.check()
    return list(file.frames())


@pytest.mark.parametrize("format", ["parquet", "csv", "json"])
def test_all_rows_come_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    monkeypatch.setattr(row_files, "SLICE_ROWS", 1_000)
    monkeypatch.setattr(row_files, "BLOCK", 10_000)
    frames = read(save(tmp_path, table(), format))
    assert len(frames) > 2 and sum(map(rows_of, frames)) == ROWS
    assert np.concatenate([frame["n"].values for frame in frames]).tolist() == table()["n"].to_list()
    assert np.concatenate([frame["b"].values for frame in frames]).tolist() == [1 - i % 2 for i in range(ROWS)]
    assert np.concatenate([frame["w"].values for frame in frames]).tolist() == table()["w"].to_list()
    assert [list(frame) for frame in frames] == [["n", "b", "w"]] * len(frames)


def problem_of(path: Path, columns: Any = ALL) -> Problem:
    with pytest.raises(InvalidRows) as refused:
        read(path, columns)
    return refused.value.problems[0]


@pytest.mark.parametrize("row", [0, 1, 4_321, ROWS - 1])
@pytest.mark.parametrize(
    ("format", "column", "value"),
    [
        ("csv", "n", "many"),
        ("csv", "b", "perhaps"),
        ("csv", "n", None),
        ("csv", "w", None),
        ("csv", "n", "inf"),
        ("parquet", "n", None),
        ("parquet", "b", None),
        ("parquet", "w", None),
        ("json", "n", "many"),
        ("json", "b", "1"),
        ("json", "w", None),
    ],
)
def test_a_cell_that_does_not_fit_is_found(
    tmp_path: Path, format: str, column: str, value: str | None, row: int
) -> None:
    content = table()
    if value is not None:
        content = content.with_columns(pl.col(column).cast(pl.String))
    cells = content[column].to_list()
    cells[row] = value
    found = problem_of(save(tmp_path, content.with_columns(pl.Series(column, cells)), format))
    if format == "json" and value is not None and column != "w":
        row = 0  # every cell is text
    assert row_of(found) == (row, column)
    assert found.allowed is not None or format == "json"


def test_several_wrong_cells_come_in_the_order_of_the_rows(tmp_path: Path) -> None:
    content = table(50).with_columns(pl.Series("n", [None if i in (30, 40) else 1.0 for i in range(50)]))
    content = content.with_columns(pl.Series("w", [None if i == 35 else "w" for i in range(50)]))
    with pytest.raises(InvalidRows) as refused:
        read(save(tmp_path, content, "parquet"))
    assert [row_of(problem) for problem in refused.value.problems] == [(30, "n"), (35, "w"), (40, "n")]


def test_what_a_step_fills_in_may_be_missing(tmp_path: Path) -> None:
    content = table(4).with_columns(pl.Series("n", [1.0, None, 3.0, None]))
    for format in ("parquet", "csv", "json"):
        (frame,) = read(save(tmp_path, content, format), fillable={"n"})
        assert np.isnan(frame["n"].values).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("dtype", "column", "fits"),
    [
        (pl.Int8, NUMBER, True), (pl.Decimal(8, 2), NUMBER, True), (pl.Boolean, NUMBER, True), (pl.Null, NUMBER, True),
        (pl.String, NUMBER, False), (pl.Date, NUMBER, False), (pl.List(pl.Float64), NUMBER, False),
        (pl.Int8, FLAG, False), (pl.Boolean, FLAG, True), (pl.Date, WORD, True), (pl.Float64, WORD, True),
        (pl.Binary, WORD, False), (pl.Struct({"a": pl.Int8}), WORD, False), (pl.Float64, TENSOR, False),
        (pl.Array(pl.Float32, (2, 2)), TENSOR, True), (pl.List(pl.List(pl.Int8)), TENSOR, True),
    ],
)  # fmt: skip
def test_columns_of_parquet_are_of_a_type_that_suits(
    tmp_path: Path, dtype: Any, column: ColumnProfile, fits: bool
) -> None:
    pl.DataFrame(schema={column.name: dtype}).write_parquet(tmp_path / "parquet")
    file = open_rows(tmp_path / "parquet", "parquet", [column], ())
    if fits:
        file.check()
    else:
        with pytest.raises(InvalidRows, match="the model knows it as"):
            file.check()


def test_tensors(tmp_path: Path) -> None:
    values = np.arange(40.0).reshape(10, 2, 2)
    pl.DataFrame({"t": values}).write_parquet(tmp_path / "parquet")
    (frame,) = read(tmp_path / "parquet", [TENSOR])
    assert np.array_equal(frame["t"].values, values)
    cells = values.tolist()
    cells[7] = [[1.0, 2.0]]
    pl.DataFrame({"t": cells}).write_parquet(tmp_path / "parquet")
    assert row_of(problem_of(tmp_path / "parquet", [TENSOR])) == (7, "t")
    (tmp_path / "csv").write_text("t\n1\n")
    assert "which CSV cannot hold" in problem_of(tmp_path / "csv", [TENSOR]).message


def test_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "json"
    path.write_bytes(b'\xef\xbb\xbf\n{"n": 1, "b": true, "w": "a", "x": [1]}\n  \r\n[2, false, "b"]')
    (frame,) = read(path)
    assert (frame["n"].values.tolist(), frame["w"].values.tolist()) == ([1.0, 2.0], ["a", "b"])
    path.write_bytes(b'[1, true, "a"]\n\n[1, true, "a"]\n{"n":')
    problem = problem_of(path)
    assert row_of(problem) == (2, None) and "line 4 is not JSON" in problem.message
    monkeypatch.setattr(row_files, "LONGEST_LINE", 10)
    with pytest.raises(TooLarge):
        read(path)


def test_columns_that_are_missing_are_named_with_what_is_near(tmp_path: Path) -> None:
    (tmp_path / "csv").write_text("n,flag,word,ww\n")
    with pytest.raises(InvalidRows) as refused:
        read(tmp_path / "csv")
    assert [problem.path for problem in refused.value.problems] == ["b", "w"]
    assert 'did you mean "ww"?' in refused.value.problems[1].message


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\x00\x01", b"PAR1" + b"\xff" * 40 + b"PAR1"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "parquet").write_bytes(content)
    with pytest.raises(InvalidDataset):
        read(tmp_path / "parquet")


def test_long_text_that_is_packed_well_is_not_unpacked_at_once(tmp_path: Path) -> None:
    """Half a kilobyte on the disk is a gigabyte once it is unpacked."""
    words = pl.Series("w", ["a", "b" * 1_000_000]).gather([0, *[1] * 1_000])
    words.to_frame().write_parquet(tmp_path / "parquet", statistics=False)
    assert (tmp_path / "parquet").stat().st_size < 10_000
    code = (
        "import resource, sys; from pathlib import Path; from service.data.profile import ColumnProfile;"
        "from service.data.row_files import open_rows; column = ColumnProfile(name='w', type='category');"
        "rows = open_rows(Path(sys.argv[1]), 'parquet', [column], ());"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024;"
        "rows.check(); before = peak(); print(sum(len(f['w'].values) for f in rows.frames()), peak() - before)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "parquet")]
    rows, grown = map(int, subprocess.run(command, capture_output=True, check=True, text=True).stdout.split())
    assert rows == 1_001 and grown < 500  # MiB


def test_footers_that_are_broken_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "parquet"
    table(10).write_parquet(path)
    whole = path.read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")
    source = np.random.Generator(np.random.Philox(1))
    for _ in range(300):
        footer = bytearray(whole[-8 - length : -8])
        for place in source.integers(0, length, 3):
            footer[place] = int(source.integers(0, 256))
        path.write_bytes(whole[: -8 - length] + bytes(footer) + whole[-8:])
        try:
            unpacked_row(path, ["n", "w"])
        except InvalidDataset as error:
            assert "footer" in error.message
    for tail in (b"\xff\xff\xff\xffPAR1", b"\0\0\0\0PAR1"):
        path.write_bytes(whole[:-8] + tail)
        with pytest.raises(InvalidDataset, match="no length"):
            unpacked_row(path, ["n"])


@pytest.mark.parametrize("sizes", [[10], [1] * 10, [3, 3, 4], [0, 7, 0, 3], [9, 1]])
@pytest.mark.parametrize("rows", [1, 3, 10, 100])
@pytest.mark.parametrize("skip", [0, 1, 4, 10])
def test_frames_are_cut_to_one_size(sizes: list[int], rows: int, skip: int) -> None:
    starts = [0, *accumulate(sizes)]
    frames = [{"a": Column("number", np.arange(a, b, dtype=float))} for a, b in pairwise(starts)]
    found = [frame["a"].values.tolist() for frame in recut(iter(frames), rows, skip)]
    assert [value for part in found for value in part] == list(range(skip, 10))
    assert all(len(part) == rows for part in found[:-1])


def test_rows_are_numbered_from_the_first_of_the_file() -> None:
    with pytest.raises(InvalidRows) as refused, numbered(700):
        raise InvalidRows([Problem("rows[2].a.b", "x"), Problem("rows[3]", "y"), Problem("a", "z")])
    assert [row_of(problem) for problem in refused.value.problems] == [(702, "a.b"), (703, None), (None, None)]
