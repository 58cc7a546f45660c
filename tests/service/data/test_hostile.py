"""Files that were damaged, or made to harm: refused with an error of ours, never with another, never with a hang."""

import gzip
import io
import zipfile
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest
from PIL import Image

from service.data.formats import Limits, profile_file, read_frame
from service.errors import TrainyardError

LIMITS = Limits(max_columns=1000, max_unpacked_bytes=1 << 24, max_json_bytes=1 << 20)
ROUNDS = 60


def _parquet() -> bytes:
    file = io.BytesIO()
    cells = {"x": [1.5, 2.5, None] * 20, "c": ["a", "b", "c"] * 20, "t": [[1, 2], [3, 4], [5, 6]] * 20}
    pl.DataFrame(cells).write_parquet(file)
    return file.getvalue()


def _npz(compressed: bool) -> bytes:
    file = io.BytesIO()
    arrays = {"x": np.arange(60.0).reshape(20, 3), "y": np.arange(20), "s": np.array(["a", "b"] * 10)}
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def _zip(compression: int, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def _picture(format: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(file, format)
    return file.getvalue()


IDX = bytes([0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0, 2, *range(24)])
PICTURES = {f"{'ab'[i % 2]}/{i}.{suffix}": _picture(suffix) for i, suffix in enumerate(("png", "jpeg", "gif", "bmp"))}


GOOD = {
    "csv": [b'a,b,c\n1,"x, y",true\n2.5,"z ""q""",false\n' * 10, "ä;b\r\n1;ü\r\n".encode()],
    "json": [b'[{"a": 1, "b": "x", "t": [[1, 2], [3, 4]]}, {"a": null, "t": [[1, 2], [3, 4.5]]}]', b'{"a": 1}\n' * 5],
    "npz": [_npz(True), _npz(False)],
    "parquet": [_parquet()],
    "images": [_zip(kind, **PICTURES) for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)],
    "idx": [IDX, gzip.compress(IDX), _zip(zipfile.ZIP_LZMA, images=IDX, labels=IDX), _zip(zipfile.ZIP_STORED, x=IDX)],
}


def damaged(data: bytes, random: Random) -> bytes:
    """Return the bytes with some of them changed, taken out, doubled or cut off."""
    broken = bytearray(data)
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(broken))
        end = start + random.randint(1, 8)
        what = random.randrange(4)
        if what == 0:
            broken[start:end] = random.randbytes(end - start)
        elif what == 1:
            del broken[start : min(end, len(broken) - 1)]
        elif what == 2:
            broken[start:start] = broken[start:end]
        else:
            broken[start] ^= 1 << random.randrange(8)
    return bytes(broken[: random.randint(1, len(broken))] if random.random() < 0.1 else broken)


@pytest.mark.parametrize("format", GOOD)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_read_or_refused(format: str, tmp_path: Path) -> None:
    random = Random(format)
    path = tmp_path / "data"
    for i in range(ROUNDS):
        path.write_bytes(damaged(GOOD[format][i % len(GOOD[format])], random))
        try:
            profile = profile_file(path, format, LIMITS)
            profile.model_dump_json()
            read_frame(path, format, profile.columns)
        except TrainyardError:
            pass


@pytest.mark.parametrize("format", GOOD)
def test_noise_is_read_or_refused(format: str, tmp_path: Path) -> None:
    random = Random(format)
    path = tmp_path / "data"
    for size in (0, 1, 3, 4, 100, 5000):
        path.write_bytes(random.randbytes(size))
        with pytest.raises(TrainyardError):
            profile_file(path, format, LIMITS)
