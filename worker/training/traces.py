"""Keeping the trace of some steps."""

from service.store import events, profiles
from service.store.blobs import BlobWriter
from service.store.engine import Store
from worker.lease import Lease
from worker.training.profiling import Profiler


def wants_trace(store: Store, job_id: str) -> bool:
    """Tell whether no attempt of a job has a trace yet."""
    with store.read() as session:
        return profiles.find(session, job_id) is None


def keep_trace(store: Store, lease: Lease, profiler: Profiler, chunk_bytes: int) -> None:
    """Store the trace, with an event that says where to find it."""
    writer = BlobWriter(store, chunk_bytes)
    for piece in profiler.compressed():
        writer.write(piece)
    with lease.write() as session:
        blob = writer.finish(session)
        profiles.insert(session, job=lease.job_id, attempt=lease.attempt, steps=profiler.steps, blob=blob)
        message = f"A profile of {profiler.steps} steps is at /v1/jobs/{lease.job_id}/profile."
        data = {"steps": profiler.steps, "size": blob.size}
        events.add(session, lease.job_id, "profile", message, attempt=lease.attempt, data=data)
