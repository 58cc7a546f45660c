"""The line that says where the time of a job went."""

from service.client import Job, Progress
from service.spent import spent

TIMINGS = {
    "data_seconds": 0.26,
    "step_seconds": 61.0,
    "validation_seconds": 2.0,
    "checkpoint_seconds": 0.0,
    "total_seconds": 64.04,
}


def test_the_line_has_every_part_and_the_speed() -> None:
    job = Job(id="job_1", status="succeeded", timings=TIMINGS, progress=Progress(samples_per_second=12345.6))
    assert spent(job) == "64.0 s: data 0.3 s  steps 61.0 s  validation 2.0 s  checkpoints 0.0 s; 12,346 samples/s"


def test_a_job_that_has_not_begun_went_nowhere() -> None:
    assert spent(Job(id="job_1", status="cancelled")) == ""
    assert spent(Job(id="job_1", status="succeeded", timings=TIMINGS)).endswith("checkpoints 0.0 s")
