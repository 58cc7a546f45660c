"""Blobs: what is written comes back, once for all who wrote it, verified; what nobody needs goes."""

import hashlib
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, func, select, update

from service.errors import CorruptBlob, NotFound, Unavailable
from service.settings import MIB
from service.store import datasets
from service.store.blobs import BlobRef, BlobWriter, Collected, blob_bytes, collect, put_chunk, read_blob, write_blob
from service.store.clock import now
from service.store.engine import Store
from service.store.tables import Blob, BlobChunk, Chunk, Dataset

CONTENT = bytes(range(256)) * 40  # 10 KiB: chunks of 1 KiB repeat every 256 bytes, so all are equal
MIXED = b"".join(i.to_bytes(4, "big") for i in range(2500))


def count(store: Store, table: type) -> int:
    with store.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def age(store: Store, seconds: float) -> None:
    """Let everything have been touched that long ago."""
    with store.begin() as session:
        session.execute(update(Chunk).values(touched_at=now() - seconds))
        session.execute(update(Blob).values(touched_at=now() - seconds))


def collected(store: Store, **options: float) -> Collected:
    with store.begin() as session:
        return collect(session, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 10_000])
def test_what_is_written_in_pieces_comes_back(sqlite_store: Store, size: int) -> None:
    data = MIXED[:size]
    for piece in (1, 700, 1024, 20_000):
        blob = write_blob(sqlite_store, (data[at : at + piece] for at in range(0, size, piece)), chunk_bytes=1024)
        assert blob == BlobRef(hashlib.sha256(data).hexdigest(), size)
    assert [len(chunk) for chunk in read_blob(sqlite_store, blob.sha256)][:-1] == [1024] * ((size - 1) // 1024)
    assert blob_bytes(sqlite_store, blob.sha256) == data


def test_what_is_written_comes_back_on_every_database(store: Store) -> None:
    blob = write_blob(store, [MIXED], chunk_bytes=1024)
    assert blob_bytes(store, blob.sha256) == MIXED
    with store.read() as session:
        assert blob_bytes(session, blob.sha256) == MIXED


def test_equal_chunks_are_stored_once(store: Store) -> None:
    write_blob(store, [CONTENT], chunk_bytes=1024)
    write_blob(store, [CONTENT], chunk_bytes=1024)
    write_blob(store, [CONTENT[:2048] + b"other"], chunk_bytes=1024)
    assert (count(store, Blob), count(store, Chunk), count(store, BlobChunk)) == (2, 2, 10 + 3)


def test_equal_bytes_in_chunks_of_another_size_are_the_same_blob(store: Store) -> None:
    first = write_blob(store, [MIXED], chunk_bytes=1024)
    second = write_blob(store, [MIXED], chunk_bytes=4096)
    assert first == second
    assert blob_bytes(store, first.sha256) == MIXED


def test_nothing_is_visible_before_the_caller_commits(store: Store) -> None:
    writer = BlobWriter(store, chunk_bytes=1024)
    writer.write(MIXED)
    assert writer.size == len(MIXED)
    with pytest.raises(RuntimeError), store.begin() as session:
        writer.finish(session)
        raise RuntimeError
    assert count(store, Blob) == count(store, BlobChunk) == 0


def test_a_blob_that_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="no blob abc"):
        blob_bytes(store, "abc")


def test_a_corrupt_chunk_is_found_before_it_is_handed_out(store: Store) -> None:
    blob = write_blob(store, [MIXED], chunk_bytes=1024)
    second = hashlib.sha256(MIXED[1024:2048]).hexdigest()
    with store.begin() as session:
        session.execute(update(Chunk).where(Chunk.sha256 == second).values(data=b"\0" * 1024))
    chunks = read_blob(store, blob.sha256)
    assert next(chunks) == MIXED[:1024]
    with pytest.raises(CorruptBlob, match=rf"Chunk 1 \({second}\) of blob {blob.sha256} is corrupt"):
        next(chunks)


def test_writing_the_bytes_again_mends_a_corrupt_chunk(store: Store) -> None:
    blob = write_blob(store, [MIXED], chunk_bytes=1024)
    with store.begin() as session:
        session.execute(update(Chunk).values(data=b"rotten"))
    write_blob(store, [MIXED], chunk_bytes=1024)
    assert blob_bytes(store, blob.sha256) == MIXED


def test_a_manifest_that_does_not_add_up_is_found(store: Store) -> None:
    blob = write_blob(store, [MIXED], chunk_bytes=1024)
    with store.begin() as session:
        session.execute(delete(BlobChunk).where(BlobChunk.position == 4))
    with pytest.raises(CorruptBlob, match="list of chunks"):
        blob_bytes(store, blob.sha256)


def test_memory_does_not_grow_with_the_size_of_a_blob(sqlite_store: Store) -> None:
    def pieces(number: int) -> Iterator[bytes]:
        return (at.to_bytes(4, "big") * (16 * 1024) for at in range(number))

    write_blob(sqlite_store, pieces(8), chunk_bytes=MIB // 4)
    tracemalloc.start()
    blob = write_blob(sqlite_store, pieces(512), chunk_bytes=MIB // 4)
    written = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    size = sum(len(chunk) for chunk in read_blob(sqlite_store, blob.sha256))
    read = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == blob.size == 32 * MIB
    assert written < 4 * MIB
    assert read < 4 * MIB


def test_writers_of_equal_bytes_do_not_disturb_each_other(store: Store) -> None:
    def write(_: int) -> BlobRef:
        return write_blob(store, [MIXED, CONTENT], chunk_bytes=1024)

    with ThreadPoolExecutor(8) as threads:
        blobs = set(threads.map(write, range(24)))
    assert len(blobs) == 1
    assert blob_bytes(store, blobs.pop().sha256) == MIXED + CONTENT


def test_collection_leaves_what_is_needed_or_young(store: Store, new_dataset: Callable[..., Dataset]) -> None:
    dataset = new_dataset(MIXED)
    write_blob(store, [CONTENT], chunk_bytes=1024)
    assert collected(store) == Collected(0, 0)
    age(store, 3601)
    assert collected(store) == Collected(1, 1)
    assert blob_bytes(store, dataset.sha256) == MIXED


def test_collection_takes_what_nothing_refers_to_any_more(store: Store, new_dataset: Callable[..., Dataset]) -> None:
    first, second = new_dataset(MIXED), new_dataset(MIXED)
    age(store, 3601)
    with store.begin() as session:
        datasets.delete(session, first.id)
    assert collected(store) == Collected(0, 0)
    with store.begin() as session:
        datasets.delete(session, second.id)
    assert collected(store) == Collected(1, 1)
    assert count(store, Blob) == count(store, Chunk) == count(store, BlobChunk) == 0


def test_collection_goes_on_where_its_limit_stopped_it(store: Store) -> None:
    write_blob(store, [MIXED], chunk_bytes=1024)
    age(store, 3601)
    assert collected(store, limit=4) == Collected(1, 4)
    assert collected(store, limit=4) == Collected(0, 4)
    assert collected(store, limit=4) == Collected(0, 2)
    assert collected(store, limit=4) == Collected(0, 0)


def test_writing_again_keeps_old_bytes_from_collection(store: Store) -> None:
    write_blob(store, [MIXED], chunk_bytes=1024)
    age(store, 3601)
    blob = write_blob(store, [MIXED], chunk_bytes=1024)
    assert collected(store) == Collected(0, 0)
    assert blob_bytes(store, blob.sha256) == MIXED


def test_an_unfinished_upload_is_collected_and_its_writer_told(store: Store) -> None:
    writer = BlobWriter(store, chunk_bytes=1024)
    writer.write(MIXED)
    age(store, 3601)
    assert collected(store) == Collected(0, 9)
    with pytest.raises(Unavailable, match="once more"), store.begin() as session:
        writer.finish(session)


def test_collection_does_not_take_what_a_transaction_under_way_is_about_to_need(postgres_store: Store) -> None:
    """On SQLite there is never more than one such transaction."""
    writer = BlobWriter(postgres_store, chunk_bytes=1024)
    writer.write(MIXED)
    age(postgres_store, 3601)
    with ThreadPoolExecutor(1) as other, postgres_store.begin() as session:
        blob = writer.finish(session)
        assert other.submit(collected, postgres_store).result(timeout=30) == Collected(0, 0)
    assert blob_bytes(postgres_store, blob.sha256) == MIXED


def test_one_chunk_can_be_put_twice_in_a_transaction(store: Store) -> None:
    with store.begin() as session:
        assert put_chunk(session, b"x") == put_chunk(session, b"x") == hashlib.sha256(b"x").hexdigest()
    assert count(store, Chunk) == 1
