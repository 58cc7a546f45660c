"""ZIP archives: how long their list of members is, known before it is read."""

import io
import zipfile
from pathlib import Path

import pytest

from service.data import archives
from service.data.archives import files_of, unzipped
from service.errors import InvalidDataset


def zipped(names: list[str], comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
        archive.comment = comment
    return file.getvalue()


@pytest.mark.parametrize(
    ("members", "comment"),
    # More than 65,535 members need the records for large archives.
    [(50, b""), (50, b"hello"), (50, b"PK\x05"), (50, bytes(65_535)), (66_000, b"")],
)
def test_a_list_that_is_too_long_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: int, comment: bytes
) -> None:
    names = [f"{i:06}" for i in range(members)]
    path = tmp_path / "data.zip"
    path.write_bytes(zipped(names, comment))
    size = len(names) * (46 + 6)
    with unzipped(path, "") as archive:
        assert [info.filename for info in files_of(archive)] == names
    monkeypatch.setattr(archives, "MAX_DIRECTORY", size)
    with unzipped(io.BytesIO(path.read_bytes()), "") as archive:
        assert len(archive.namelist()) == len(names)
    monkeypatch.setattr(archives, "MAX_DIRECTORY", size - 1)
    with pytest.raises(InvalidDataset, match=f"takes {size} bytes"), unzipped(path, ""):
        pass


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x05\x06", b"x" * 100, b"PK\x05\x06" * 30])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidDataset, match="the archive cannot be read"), unzipped(io.BytesIO(data), "an archive"):
        pass
