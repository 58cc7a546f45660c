"""Telling formats apart, and reading the same bytes from a file and from pieces."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from service.data.formats import MEDIA_TYPES, ZIP, Format, Limits, read_frame, sniff
from service.errors import InvalidDataset, UnsupportedMediaType
from service.settings import Settings
from tests.support.uploaded import Uploader

CSV = b"a,b\n1,2\n"


def zip_of(*names: str) -> bytes:
    """The beginning of a ZIP with these members."""
    heads = [b"PK\x03\x04" + bytes(22) + len(name).to_bytes(2, "little") + bytes(2) + name.encode() for name in names]
    return b"...".join(heads)


IDX = b"\0\0\x08\x03" + bytes(12)


@pytest.mark.parametrize(
    ("content_type", "filename", "head", "format"),
    [
        ("text/csv", None, b"", "csv"),
        ("Text/CSV; charset=utf-8", "x.npz", b"", "csv"),
        ("application/vnd.apache.parquet", None, b"", "parquet"),
        ("application/x-npz", None, b"", "npz"),
        ("application/json", None, b"", "json"),
        ("application/x-ndjson", None, b"", "json"),
        (None, "x.parquet", b"", "parquet"),
        ("application/octet-stream", "X.NPZ", b"", "npz"),
        ("application/vnd.ms-excel", "x.csv", b"", "csv"),
        ("text/plain", "x.tsv", b"", "csv"),
        ("text/plain", None, CSV, "csv"),
        (None, None, CSV, "csv"),
        (None, "unknown.dat", b"\xef\xbb\xbf" + CSV, "csv"),
        ("application/x-www-form-urlencoded", None, CSV, "csv"),
        (None, None, b"PAR1...", "parquet"),
        ("application/zip", None, zip_of("x.npy"), "npz"),
        ("application/zip", None, zip_of("cats/", "cats/1.PNG"), "images"),
        ("application/zip", "pets.zip", zip_of("a/readme", "a/b/1.webp"), "images"),
        ("application/zip", None, zip_of("train-images-idx3-ubyte.gz"), "idx"),
        ("application/octet-stream", None, zip_of("mnist/train-labels.idx1-ubyte"), "idx"),
        ("application/x-idx", None, b"", "idx"),
        (None, "train-images-idx3-ubyte", IDX, "idx"),
        ("application/gzip", "train-images-idx3-ubyte.gz", gzip.compress(IDX, mtime=0), "idx"),
        (None, None, b' \n[{"a": 1}]', "json"),
        (None, None, b'{"a": 1}\n', "json"),
    ],
)
def test_sniff(content_type: str | None, filename: str | None, head: bytes, format: str) -> None:
    assert sniff(content_type, filename, head) is Format(format)


@pytest.mark.parametrize(
    ("content_type", "filename", "head"),
    [
        ("image/png", None, CSV),
        ("application/xml", "x.csv", b""),
        (None, None, b""),
        (None, "x.xlsx", zip_of("xl/workbook.xml")),
        ("application/gzip", "x.csv.gz", gzip.compress(CSV, mtime=0)),
        (None, None, b"\x00\x01\x02"),
    ],
)
def test_what_cannot_be_told_is_refused_with_what_is_allowed(
    content_type: str | None, filename: str | None, head: bytes
) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        sniff(content_type, filename, head)
    assert all(media in caught.value.message for media in [*MEDIA_TYPES, ZIP])


def test_an_unknown_file_name_leaves_it_to_the_content() -> None:
    assert sniff(None, "data.unknown", CSV) is Format.CSV


def test_limits_come_from_the_settings() -> None:
    settings = Settings(max_columns=7, max_unpacked_bytes=8, max_json_bytes=9)
    assert Limits.of(settings) == Limits(7, 8, 9)


@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
def test_pieces_read_as_the_file(upload: Uploader, wine_csv: bytes, digits_npz: bytes, piece: int) -> None:
    piece = max(piece, len(digits_npz) // 1000)
    for data, format in ((wine_csv, "csv"), (digits_npz, "npz")):
        found = upload(data, format)
        pieces = (data[start : start + piece] for start in range(0, len(data), piece))
        frame = read_frame(pieces, format, found.profile.columns)
        for name, column in found.read().items():
            assert np.array_equal(frame[name].values, column.values)


def test_a_file_of_another_format_is_refused(upload: Uploader, wine_csv: bytes) -> None:
    for format in ("npz", "parquet", "json"):
        with pytest.raises(InvalidDataset):
            upload(wine_csv, format)


def test_no_file_is_left_behind(
    upload: Uploader, digits_npz: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    found = upload(digits_npz, "npz")
    read_frame([digits_npz], "npz", found.profile.columns)
    assert not list(folder.iterdir())
