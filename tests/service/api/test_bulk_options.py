"""Which bodies are files of rows, and in which form they are answered."""

import pytest

from service.api.bulk_options import bulk_query, is_file, writer_for
from service.errors import InvalidInput, NotAcceptable

PARQUET = "application/vnd.apache.parquet"


@pytest.mark.parametrize(
    ("accept", "suffix"),
    [
        (None, "ndjson"),
        ("*/*", "ndjson"),
        ("application/*", "ndjson"),
        ("text/*", "csv"),
        ("TEXT/CSV; charset=utf-8", "csv"),
        (PARQUET, "parquet"),
        (f"text/csv;q=0.3, {PARQUET};q=0.4, */*;q=0.1", "parquet"),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", "ndjson"),
        (f"text/csv, {PARQUET}", "csv"),
        (f"text/csv;q=0, {PARQUET};q=oops, application/jsonl;q=0.1", "ndjson"),
    ],
)
def test_the_best_that_is_accepted_is_written(accept: str | None, suffix: str) -> None:
    assert writer_for(accept).suffix == suffix


@pytest.mark.parametrize("accept", ["application/json", "text/csv;q=0", "image/png, text/html", ","])
def test_what_cannot_be_written_is_refused(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="text/csv"):
        writer_for(accept)


def test_files_of_rows_are_told_by_their_type() -> None:
    files = ["text/csv; charset=utf-8", "application/x-ndjson", PARQUET, "multipart/form-data; boundary=x"]
    assert all(map(is_file, files))
    assert not any(map(is_file, [None, "", "application/json", "application/octet-stream"]))


@pytest.mark.parametrize(
    ("text", "levels"),
    [("0.05,0.95", [0.05, 0.95]), ("[0.5]", [0.5]), ("0.5", [0.5]), ("1", [1]), ("", []), (" 0.1 , 0.2 ", [0.1, 0.2])],
)
def test_levels_come_as_text(text: str, levels: list[float]) -> None:
    assert bulk_query(quantiles=text).read().quantiles == levels


def test_options_that_are_wrong_are_named() -> None:
    for query, path in (
        (bulk_query(quantiles="a,b"), "quantiles"),
        (bulk_query(noise_precision="-1"), "noise_precision"),
        (bulk_query(adaptive="soon"), "adaptive"),
        (bulk_query(coverage=2.0), "coverage"),
    ):
        with pytest.raises(InvalidInput) as refused:
            query.read()
        assert refused.value.problems[0].path == path
    with pytest.raises(InvalidInput):
        bulk_query(seed=1).refuse()
    bulk_query().refuse()
