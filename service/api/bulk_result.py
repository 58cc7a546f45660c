"""The result of a prediction on its way out: the stored Parquet file, or lines and CSV that are made of it."""

import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

from fastapi.responses import Response, StreamingResponse

from service.api.deps import Backend
from service.api.download import download
from service.api.upload import PREFIX, uploads_folder
from service.predict.bulk.results import stored_about, stored_predictions
from service.predict.bulk.writers import WRITERS, ParquetWriter, Writer, written
from service.store.blobs import read_blob
from service.store.prediction_tables import Prediction


def result_of(service: Backend, row: Prediction, format: str) -> Response:
    """Return the answer that carries a result.

    Raises:
        CorruptBlob: The first chunk fails its SHA-256; a later one breaks the answer off.
    """
    assert row.result is not None and row.result_size is not None
    kind = WRITERS[format]
    if kind is ParquetWriter:
        answer = download(service.store, row.result, row.result_size, f"{row.id}.parquet")
        answer.headers["Content-Type"] = kind.media_type
        return answer
    pieces = _converted(service, row.result, kind)
    first = next(pieces)
    headers = {"Content-Disposition": f'attachment; filename="{row.id}.{kind.suffix}"'}
    return StreamingResponse(_all(first, pieces), media_type=kind.media_type, headers=headers)


def _converted(service: Backend, sha256: str, kind: type[Writer]) -> Generator[bytes, None, None]:
    """Yield the pieces of a result in another form; the file waits on the disk until the last is out."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=uploads_folder(service.settings)) as folder:
        path = Path(folder) / "file"
        with path.open("wb") as file:
            file.writelines(read_blob(service.store, sha256))
        schema, about = stored_about(path)
        for piece in written(stored_predictions(path), kind(schema, about)):
            if piece:
                yield piece


def _all(first: bytes, rest: Generator[bytes, None, None]) -> Iterator[bytes]:
    try:
        yield first
        yield from rest
    finally:
        rest.close()
