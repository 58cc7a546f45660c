"""Where the time of a job went, in a line."""

from service.client import Job

PARTS = {"data": "data", "steps": "step", "validation": "validation", "checkpoints": "checkpoint"}


def spent(job: Job) -> str:
    """Return the seconds by part, and how fast training was; nothing where a job has not begun."""
    timings = job.timings or {}
    if not timings:
        return ""
    parts = "  ".join(f"{name} {timings[f'{part}_seconds']:.1f} s" for name, part in PARTS.items())
    speed = job.progress.samples_per_second
    return f"{timings['total_seconds']:.1f} s: {parts}" + (f"; {speed:,.0f} samples/s" if speed else "")
