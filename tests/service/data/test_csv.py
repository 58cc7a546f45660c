"""CSV: what is read is what Python's csv module reads, and what cannot be read is refused with its place."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.data import csv as csv_format
from service.data.formats import Limits, profile_file, read_frame
from service.data.text import BLANKS, MISSING
from service.errors import InvalidDataset, TooLarge
from tests.support.uploaded import LIMITS, Uploader


def refusal(upload: Uploader, data: bytes | str, limits: Limits = LIMITS) -> str:
    with pytest.raises(InvalidDataset) as caught:
        upload(data, limits=limits)
    return "; ".join(problem.message for problem in caught.value.problems)


def test_types_missing_values_and_statistics(upload: Uploader) -> None:
    found = upload("a,b,c,d,e\n1,2.5,x,true,007\n3,?,y,FALSE,008\n,7,x,NA,009\n")
    assert [(c.name, c.type, c.missing, c.distinct) for c in found.profile.columns] == [
        ("a", "integer", 1, 2),
        ("b", "number", 1, 2),
        ("c", "category", 0, 2),
        ("d", "boolean", 1, 2),
        ("e", "category", 0, 3),
    ]
    a = found["a"]
    assert (a.min, a.max, a.mean, a.std) == (1, 3, 2, 1)
    assert found.listed("a") == [(1, 1), (3, 1)]
    assert found.listed("c") == [("x", 2), ("y", 1)]
    assert found.listed("d") == [(False, 1), (True, 1)]
    assert found["b"].categories is None, "numbers with fractions are no classes"
    assert (found.profile.rows, found.profile.format) == (3, "csv")


@pytest.mark.parametrize("token", [*MISSING, " ", "\t?  ", ' "NA"', '""'])
def test_missing_tokens(upload: Uploader, token: str) -> None:
    found = upload(f"n,c\n{token},{token}\n4,x\n")
    assert [(c.type, c.missing) for c in found.profile.columns] == [("integer", 1), ("category", 1)]
    assert np.isnan(found.values("n")[0])
    assert found.values("c") == [None, "x"]


TYPES = [
    (["1", "-2", "+3"], "integer"),
    (["0", "-0"], "integer"),
    (["1", "2.0"], "number"),
    ([".5", "5.", "1e3", "-1E-3"], "number"),
    (["1", "inf"], "number"),
    (["01", "2"], "category"),
    (["00"], "category"),
    (["0.5", "007"], "number"),
    ([str(2**53 - 1), "1"], "integer"),
    ([str(2**53 + 1), "1"], "category"),
    ([str(-(2**70)), "1"], "category"),
    ([str(2**70), "1.5"], "number"),
    (["1_000"], "category"),
    (["0x10"], "category"),
    (["\uff11"], "category"),
    (["1", "x"], "category"),
    (["true", "false"], "boolean"),
    (["True", "NA"], "boolean"),
    (["true", "1"], "category"),
    (["yes", "no"], "category"),
    (["NA", "?"], "category"),
]


@pytest.mark.parametrize(("cells", "type"), TYPES, ids=str)
@pytest.mark.parametrize("backwards", [False, True], ids=["", "backwards"])
def test_the_type_is_that_of_all_rows(
    upload: Uploader, monkeypatch: pytest.MonkeyPatch, cells: list[str], type: str, backwards: bool
) -> None:
    monkeypatch.setattr(csv_format, "BLOCK", 8)
    found = upload("x,y\n" + "".join(f"{cell},1\n" for cell in (cells[::-1] if backwards else cells)))
    assert found["x"].type == type
    assert found["x"].distinct is not None


@pytest.mark.parametrize(("cells", "type"), [case for case in TYPES if case[1] != "boolean"], ids=str)
@pytest.mark.parametrize("backwards", [False, True], ids=["", "backwards"])
def test_the_type_is_that_of_all_rows_where_their_values_are_not_counted(
    upload: Uploader, monkeypatch: pytest.MonkeyPatch, cells: list[str], type: str, backwards: bool
) -> None:
    monkeypatch.setattr("service.data.collector.DISTINCT_LIMIT", -1)
    monkeypatch.setattr(csv_format, "BLOCK", 8)
    found = upload("x,y\n" + "".join(f"{cell},1\n" for cell in (cells[::-1] if backwards else cells)))
    assert found["x"].type == type
    assert found["x"].distinct is None


def test_identifiers_stay_as_they_were_written(upload: Uploader) -> None:
    found = upload(f"zip,id\n00501,{2**60 + 1}\n10001,{2**60 + 3}\n")
    assert found.values("zip") == ["00501", "10001"]
    assert found.values("id") == [str(2**60 + 1), str(2**60 + 3)]


def test_equal_numbers_written_differently_are_one_value(upload: Uploader) -> None:
    found = upload("x\n1\n1.0\n 1\n2\n")
    assert found.listed("x") == [(1.0, 3), (2.0, 1)]


def test_infinite_numbers_are_counted_and_in_no_statistic(upload: Uploader) -> None:
    x = upload("x\n1\ninf\n-Infinity\n1e999\n3\n")["x"]
    assert (x.infinite, x.missing, x.min, x.max, x.mean, x.std) == (3, 0, 1, 3, 2, 1)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(upload: Uploader, delimiter: str) -> None:
    found = upload(delimiter.join(["a", '"b,;|c"', "d"]) + "\n" + delimiter.join("123") + "\n")
    assert [c.name for c in found.profile.columns] == ["a", "b,;|c", "d"]
    assert found.values("d") == [3]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfa,b\n1,x\n2,y\n",
        b"a,b\r\n1,x\r\n2,y\r\n",
        b"a,b\n1,x\n2,y",
        b"\n\na,b\n\n1,x\n\n2,y\n\n\n",
        b"a,b\r\n\r\n1,x\r\n\r\n2,y\r\n\r\n",
        b"a , b\n1, x\n 2 ,\ty\n",
        b'"a","b"\n1,"x"\n2, "y"\n',
        b"a,b\n1,x\n  \n2,y\n \n",
    ],
    ids=["bom", "crlf", "no-last-line-end", "blank-lines", "blank-crlf-lines", "blanks", "quotes", "lines-of-blanks"],
)
def test_ways_to_write_the_same_table(upload: Uploader, data: bytes) -> None:
    found = upload(data)
    assert [c.name for c in found.profile.columns] == ["a", "b"]
    assert (found.values("a"), found.values("b")) == ([1, 2], ["x", "y"])


def test_quotes_hold_delimiters_line_ends_and_quotes(upload: Uploader) -> None:
    found = upload('t,n\n"a,b",1\n"c\nd",2\n"say ""hi""",3\n')
    assert found.values("t") == ["a,b", "c\nd", 'say "hi"']
    assert found.profile.rows == 3


CELL = st.text(alphabet='ab1,;"\n\r \t.é', max_size=6)


@given(rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=12), block=st.sampled_from([16, 64, 1 << 20]))
@settings(max_examples=80, deadline=None)
def test_reads_what_pythons_csv_module_reads(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], block: int
) -> None:
    content = io.StringIO(newline="")
    writer = csv.writer(content, lineterminator="\n", quoting=csv.QUOTE_ALL)
    # The first row makes every column text.
    table = [("first", "first", "first"), *rows]
    writer.writerows([("x", "y", "z"), *table])
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    path.write_text(content.getvalue(), newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_format, "BLOCK", block)
        profile = profile_file(path, "csv", LIMITS)
        frame = read_frame(path, "csv", profile.columns)
    assert [list(frame[name].values) for name in "xyz"] == [[_cell(row[i]) for row in table] for i in range(3)]


def _cell(cell: str) -> str | None:
    word = cell.strip(BLANKS)
    return None if word in MISSING else word


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
def test_blocks_make_no_difference(
    upload: Uploader, monkeypatch: pytest.MonkeyPatch, wine_csv: bytes, size: int
) -> None:
    whole = upload(wine_csv).profile
    monkeypatch.setattr(csv_format, "BLOCK", size)
    cut = upload(wine_csv)
    for ours, theirs in zip(cut.profile.columns, whole.columns, strict=True):
        assert ours.model_dump(exclude={"mean", "std"}) == theirs.model_dump(exclude={"mean", "std"})
        if theirs.type != "category":
            assert (ours.mean, ours.std) == pytest.approx((theirs.mean, theirs.std), rel=1e-12)
    assert len(cut.values("target")) == whole.rows


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("a,b\n", "no rows"),
        ("a,b\n\n\n", "no rows"),
        ("a,b\n1,2\n3\n", "line 3 has 1 fields, the header has 2"),
        ("a,b\n1,2\n3,4,5\n6\n", "line 3 has 3 fields, the header has 2"),
        ('a,b\n"x\ny",2\n\n3\n', "line 5 has 1 fields"),
        ("a,b\n1,2,\n3,4,\n", "line 2 has 3 fields"),
        ("a,,c\n1,2,3\n", "no name"),
        ("a," + "b" * 501 + "\n1,2\n", "longer than 500"),
        ("a,b,a\n1,2,3\n", "'a' stands twice, in columns 1 and 3"),
        ('a,b\n1,"2\n3,4\n', "line 2 is no CSV record"),
        (b"a,b\n1,\xff\n", "not UTF-8: byte 6 is 0xff"),
        (b"\xef\xbb\xbfa,b\n1,\xe9\n", "not UTF-8: byte 9 is 0xe9"),
        ("a,b\n1,2\n".encode("utf-16"), "not UTF-8"),
        (b"a,b\n1,\x00\n", "NUL at byte 6"),
        (b"a,b\r1,2\r", "carriage returns"),
        ('\na,b, y"\n2,"x"\n', "line 2, the header, is no CSV record"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused_with_its_place(upload: Uploader, data: bytes | str, message: str) -> None:
    assert message in refusal(upload, data)


def test_places_are_those_of_the_file_not_of_a_block(upload: Uploader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_format, "BLOCK", 16)
    good = "a,b\n" + '"x\ny",2\n' * 50
    assert "line 102 has 1 fields" in refusal(upload, good + "3\n")
    assert f"byte {len(good) + 2} is 0xff" in refusal(upload, good.encode() + b"1,\xff\n")


def test_a_quote_left_open_ends_somewhere(upload: Uploader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_format, "BLOCK", 64)
    monkeypatch.setattr(csv_format, "LONGEST_RECORD", 500)
    assert "line 3 is longer than" in refusal(upload, 'a,b\n1,2\n3,"4\n' + "5,6\n" * 1000)


def test_too_many_columns(upload: Uploader) -> None:
    with pytest.raises(TooLarge, match="11 columns; at most 10"):
        upload(",".join(map(str, range(11))) + "\n", limits=Limits(10, 10**9, 10**9))


def test_reads_wanted_columns_in_their_order_and_stops_after_rows(upload: Uploader, wine_csv: bytes) -> None:
    found = upload(wine_csv)
    frame = found.read("target", "alcohol", rows=5)
    assert list(frame) == ["target", "alcohol"]
    assert [len(column.values) for column in frame.values()] == [5, 5]
    assert frame["alcohol"].values.tolist() == found.values("alcohol")[:5]


def test_a_file_that_is_not_the_profiled_one_is_refused(upload: Uploader, tmp_path: Path) -> None:
    columns = upload("a,b\n1,2\n").profile.columns
    other = tmp_path / "other.csv"
    for data in ("a,c\n1,2\n", "a,b\n1,x\n"):
        other.write_text(data)
        with pytest.raises(InvalidDataset):
            read_frame(other, "csv", columns)


def test_a_single_column(upload: Uploader) -> None:
    found = upload('x\n1\n\n""\n2\n\n')
    assert np.array_equal(found.values("x"), [1, np.nan, 2], equal_nan=True), "a blank line is no row, an empty cell is"


def test_quotes_over_very_many_lines_are_no_hard_work(upload: Uploader) -> None:
    long = '"' + "\n" * 2_000_000 + '"'
    assert upload(f"x,y\n1,{long}\n2,b\n").profile.rows == 2
    assert upload(f"x,a{long}\n1,2\n".replace('a"', '"a')).profile.rows == 1


def test_numbers_survive_to_the_last_bit(upload: Uploader) -> None:
    numbers: Any = np.random.default_rng(0).normal(size=2000) * 10.0 ** np.random.default_rng(1).integers(
        -300, 300, 2000
    )
    found = upload("x\n" + "\n".join(map(repr, numbers.tolist())) + "\n")
    assert found.values("x") == numbers.tolist()
