"""Bytes in the store: blobs named by their SHA-256, made of chunks that are shared and verified when read."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, and_, delete, insert, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.errors import CorruptBlob, NotFound, Unavailable
from service.settings import MIB
from service.store.clock import now
from service.store.engine import Store
from service.store.tables import Blob, BlobChunk, Chunk, Table
from service.store.upserts import upsert

T = TypeVar("T")
CHUNK_BYTES = 4 * MIB
BATCH = 500
"""Values in one IN list, and rows in one INSERT."""
UNTRACKED = {"synchronize_session": False}
"""Rows of these tables are never held as objects, so no statement has to look for them."""


@dataclass(frozen=True)
class BlobRef:
    """The name and the size of a blob."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Collected:
    """What a collection removed."""

    blobs: int
    chunks: int


def put_chunk(session: Session, data: bytes) -> str:
    """Store one chunk unless it is there, and return its SHA-256.

    A chunk that is there is compared: one that has rotted on the disk is mended by whoever sends it again.
    """
    sha = hashlib.sha256(data).hexdigest()
    if not _touch_equal(session, sha, data):
        fresh = upsert(session, Chunk).values(sha256=sha, data=data)
        renewed = {"data": fresh.excluded["data"], "touched_at": now()}
        session.execute(fresh.on_conflict_do_update(index_elements=["sha256"], set_=renewed))
    return sha


def _touch_equal(session: Session, sha: str, data: bytes) -> bool:
    # Asking first saves sending the bytes twice where the chunk is new.
    if session.scalar(select(Chunk.sha256).where(Chunk.sha256 == sha)) is None:
        return False
    touch = update(Chunk).where(Chunk.sha256 == sha, Chunk.data == data).values(touched_at=now())
    return session.scalar(touch.returning(Chunk.sha256), execution_options=UNTRACKED) is not None


class BlobWriter:
    """Cuts bytes into chunks and stores each in a transaction of its own, in constant memory.

    Nothing is visible before `finish` has put the manifest into the caller's transaction, beside the row that
    refers to it; chunks of a writer that is dropped are collected later.
    """

    def __init__(self, store: Store, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._store = store
        self._chunk_bytes = chunk_bytes
        self._pending = bytearray()
        self._whole = hashlib.sha256()
        self._chunks: list[tuple[str, int]] = []

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return sum(size for _, size in self._chunks) + len(self._pending)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        view = memoryview(data).cast("B")
        self._whole.update(view)
        while len(view):
            room = self._chunk_bytes - len(self._pending)
            self._pending += view[:room]
            view = view[room:]
            if len(self._pending) == self._chunk_bytes:
                with self._store.begin() as session:
                    self._flush(session)

    def finish(self, session: Session) -> BlobRef:
        """Put the rest and the manifest into the caller's transaction, and return what to refer to.

        Raises:
            Unavailable: The writing took so long that chunks were collected meanwhile.
        """
        if self._pending:
            self._flush(session)
        self._hold_all(session)
        blob = BlobRef(self._whole.hexdigest(), self.size)
        manifest = upsert(session, Blob).values(sha256=blob.sha256, size=blob.size)
        session.execute(manifest.on_conflict_do_update(index_elements=["sha256"], set_={"touched_at": now()}))
        self._link(session, blob)
        return blob

    def _flush(self, session: Session) -> None:
        data = bytes(self._pending)
        self._chunks.append((put_chunk(session, data), len(data)))
        self._pending.clear()

    def _hold_all(self, session: Session) -> None:
        """Keep the chunks from a collection until the manifest refers to them, and see that all are there."""
        for batch in _batches(sorted({sha for sha, _ in self._chunks})):
            # A shared lock: writers of equal bytes do not wait for each other, in whatever order they come.
            present = select(Chunk.sha256).where(Chunk.sha256.in_(batch)).with_for_update(read=True, key_share=True)
            if len(session.scalars(present).all()) < len(batch):
                raise Unavailable("The bytes took so long to arrive that some were removed again; send them once more.")

    def _link(self, session: Session, blob: BlobRef) -> None:
        if session.scalar(select(BlobChunk.position).where(BlobChunk.blob == blob.sha256).limit(1)) is not None:
            return
        rows = [
            {"blob": blob.sha256, "position": position, "chunk": sha, "size": size}
            for position, (sha, size) in enumerate(self._chunks)
        ]
        for batch in _batches(rows):
            session.execute(insert(BlobChunk), batch)


def write_blob(store: Store, chunks: Iterable[bytes], chunk_bytes: int = CHUNK_BYTES) -> BlobRef:
    """Store bytes that arrive in pieces of any size, with the manifest in a transaction of its own."""
    writer = BlobWriter(store, chunk_bytes)
    for piece in chunks:
        writer.write(piece)
    with store.begin() as session:
        return writer.finish(session)


def read_blob(source: Session | Store, sha256: str) -> Iterator[bytes]:
    """Yield the chunks of a blob in order, each verified before it is handed out.

    From a `Store`, every chunk is read in a transaction of its own, so that a slow reader holds nothing.

    Raises:
        NotFound: There is no such blob.
        CorruptBlob: A chunk or the manifest does not match its SHA-256; the message names which.
    """
    with _session(source) as session:
        size = session.scalar(select(Blob.size).where(Blob.sha256 == sha256))
        listed = select(BlobChunk.chunk).where(BlobChunk.blob == sha256).order_by(BlobChunk.position)
        manifest = session.scalars(listed).all()
    if size is None:
        raise NotFound(f"There is no blob {sha256}.")
    whole = hashlib.sha256()
    for position, sha in enumerate(manifest):
        data = _verified_chunk(source, sha, f"Chunk {position} ({sha}) of blob {sha256}")
        whole.update(data)
        yield data
    if whole.hexdigest() != sha256:
        raise CorruptBlob(f"The list of chunks of blob {sha256} does not add up to it.")


def blob_bytes(source: Session | Store, sha256: str) -> bytes:
    """Return a whole blob; for what is known to be small."""
    return b"".join(read_blob(source, sha256))


def collect(session: Session, older_than: float = 3600, limit: int = 256) -> Collected:
    """Delete blobs that nothing refers to and chunks of no blob, if nobody touched them for `older_than` seconds.

    At most `limit` of each, so that the transaction stays short; call again until nothing is removed.
    """
    deadline = now() - older_than
    unused = ~or_(*(_refers(column) for column in _references()))
    loose = ~select(BlobChunk.blob).where(BlobChunk.chunk == Chunk.sha256).exists()
    blobs = _delete(session, Blob.sha256, and_(Blob.touched_at < deadline, unused), limit)
    return Collected(blobs, _delete(session, Chunk.sha256, and_(Chunk.touched_at < deadline, loose), limit))


def _delete(session: Session, key: InstrumentedAttribute[str], condition: ColumnElement[bool], limit: int) -> int:
    # Locked first, never waiting for anybody, and then looked at again: somebody may just have come to need it.
    found = session.scalars(select(key).where(condition).limit(limit).with_for_update(skip_locked=True)).all()
    gone = [delete(key.class_).where(key.in_(batch), condition).returning(key) for batch in _batches(found)]
    return sum(len(session.scalars(each, execution_options=UNTRACKED).all()) for each in gone)


def _references() -> Iterator[Column[Any]]:
    """Find every column that keeps a blob alive, so that a new table needs no second mention here."""
    for table in Table.metadata.sorted_tables:
        if table is not BlobChunk.__table__:
            yield from (key.parent for key in table.foreign_keys if key.column.table is Blob.__table__)


def _refers(column: Column[Any]) -> ColumnElement[bool]:
    return select(column).where(column == Blob.sha256).exists()


def _session(source: Session | Store) -> AbstractContextManager[Session]:
    return source.read() if isinstance(source, Store) else nullcontext(source)


def _verified_chunk(source: Session | Store, sha256: str, what: str) -> bytes:
    with _session(source) as session:
        data = session.scalar(select(Chunk.data).where(Chunk.sha256 == sha256))
    if data is None or hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptBlob(f"{what} is {'gone' if data is None else 'corrupt'}.")
    return data


def _batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[at : at + BATCH] for at in range(0, len(values), BATCH))
