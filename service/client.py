"""The HTTP client behind the command line, the demo and the end-to-end tests. Imports nothing of the server.

ClientError                 what a person reads instead of a traceback
|-- Unreachable             nothing answers at the address
`-- Refused                 the server answered with a problem (RFC 9457)
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from service.media import CONTENT_TYPES
from service.submitters import HEADER

Json = dict[str, Any]
"""A JSON object as the server sent it or will get it."""

FINAL = frozenset({"succeeded", "failed", "cancelled"})
TIMEOUT = httpx.Timeout(600.0, connect=5.0)
POLL_SECONDS = 0.25


class Answer(BaseModel):
    """A part of the server's answer; what it says beyond the fields here is left aside."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class InvalidValue(Answer):
    """One value that the server refused."""

    path: str
    message: str
    got: Any = None
    allowed: Any = None


class Problem(Answer):
    """Why the server refused a request."""

    status: int
    title: str = ""
    detail: str = ""
    code: str = ""
    errors: list[InvalidValue] = []


class Progress(Answer):
    """How far a job is."""

    epoch: int = 0
    total_epochs: int | None = None
    step: int = 0
    total_steps: int | None = None
    fraction: float | None = None
    samples_per_second: float | None = None
    eta_seconds: float | None = None


class Failure(Answer):
    """Why a job failed."""

    code: str
    message: str


class Job(Answer):
    """A training job."""

    id: str
    name: str | None = None
    status: str
    model: str | None = None
    progress: Progress = Progress()
    attempt: int = 0
    error: Failure | None = None
    receipt: Json | None = None


class Metric(Answer):
    """One measured value."""

    name: str
    split: str
    epoch: int
    step: int
    value: float | None


class ClientError(Exception):
    """Something that a person should read."""


class Unreachable(ClientError):
    """No server answers at this address."""


class Refused(ClientError):
    """The server answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail or problem.title)


class Client:
    """Calls one server."""

    def __init__(self, url: str, submitter: str | None = None) -> None:
        """Call the server at this address; jobs are submitted in the name of `submitter`."""
        self.url = url.rstrip("/")
        # A server on this machine is never behind a proxy, whatever the environment names for the rest of the world.
        near = httpx.URL(self.url).host in ("127.0.0.1", "localhost", "::1")
        headers = {HEADER: submitter} if submitter else {}
        self.http = httpx.Client(base_url=self.url, timeout=TIMEOUT, trust_env=not near, headers=headers)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def request(self, method: str, path: str, **arguments: Any) -> Any:
        """Return the JSON of an answer, None where it has no body.

        Raises:
            Unreachable: Nobody answers, or who answers is no Trainyard.
            Refused: The answer is an error.
        """
        with self._reaching():
            response = self.http.request(method, path, **arguments)
        if response.is_error:
            raise Refused(problem_of(response))
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise Unreachable(f"What answers at {self.url} is no Trainyard: {method} {path} gave no JSON.") from error

    def download(self, path: str, into: BinaryIO, query: Json) -> httpx.Headers:
        """Write what is answered to a file as it comes, and return the headers of the answer."""
        with self._reaching(), self.http.stream("GET", path, params=query) as response:
            if response.is_error:
                response.read()
                raise Refused(problem_of(response))
            for piece in response.iter_bytes():
                into.write(piece)
            return response.headers

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unreachable(
                f"No Trainyard answers at {self.url} ({str(error) or type(error).__name__}). "
                "Start one with `trainyard up`, or name another with --url or TRAINYARD_URL."
            ) from error

    def upload(self, file: Path, name: str | None = None) -> Json:
        """Send a file as a data set, streamed from the disk."""
        headers = {"Content-Type": CONTENT_TYPES.get(file.suffix.lower(), "application/octet-stream")}
        query = {"name": name or file.name}
        with file.open("rb") as content:
            headers["Content-Length"] = str(file.stat().st_size)
            answer: Json = self.request("POST", "/v1/datasets", params=query, content=content, headers=headers)
        return answer

    def submit(self, spec: Json, reuse: bool = False) -> Job:
        """Ask for a training job. The key makes a repeated request the same request."""
        query = {"reuse": "true"} if reuse else {}
        headers = {"Idempotency-Key": uuid4().hex}
        return Job.model_validate(self.request("POST", "/v1/jobs", json=spec, params=query, headers=headers))

    def validate(self, spec: Json) -> Json:
        """Return what a job would do: shapes, sizes and advice."""
        answer: Json = self.request("POST", "/v1/networks/validate", json={"spec": spec})
        return answer

    def job(self, job_id: str) -> Job:
        """Return a job as it is now."""
        return Job.model_validate(self.request("GET", f"/v1/jobs/{job_id}"))

    def command(self, job_id: str, name: str) -> Job:
        """Have a job paused, resumed, cancelled, killed or retried: `name` is the word for it."""
        return Job.model_validate(self.request("POST", f"/v1/jobs/{job_id}/{name}"))

    def extend(self, job_id: str, epochs: int, settings: Json | None = None) -> Job:
        """Train a job that has succeeded for so many epochs more, as a new job."""
        body = {"epochs": epochs, "settings": settings or {}}
        return Job.model_validate(self.request("POST", f"/v1/jobs/{job_id}/extend", json=body))

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop at its next step."""
        return self.command(job_id, "cancel")

    def watch(self, job_id: str, every: float = POLL_SECONDS) -> Iterator[tuple[Job, list[Metric]]]:
        """Give the job and its new metrics, again and again, until it has ended."""
        step = None
        while True:
            job = self.job(job_id)  # read before its metrics: a final state means that all of them are there
            fresh = self.metrics(job_id, since=step)
            step = max((metric.step for metric in fresh), default=step)
            yield job, fresh
            if job.status in FINAL:
                return
            time.sleep(every)

    def wait(self, job_id: str) -> Job:
        """Return a job once it has ended."""
        while (job := self.job(job_id)).status not in FINAL:
            time.sleep(POLL_SECONDS)
        return job

    def metrics(self, job_id: str, **query: str | int | None) -> list[Metric]:
        """Return metrics of a job: `name`, `split`, `since` (a step) and `max_points` narrow them down."""
        asked = {key: value for key, value in query.items() if value is not None}
        answer = self.request("GET", f"/v1/jobs/{job_id}/metrics", params=asked)
        return [Metric.model_validate(value) for value in answer["data"]]

    def model(self, model_id: str) -> Json:
        """Return a trained model."""
        answer: Json = self.request("GET", f"/v1/models/{model_id}")
        return answer

    def predict(self, model_id: str, rows: Sequence[object], **options: object) -> Json:
        """Return predictions for raw rows; the options are those of the request (`mc_samples`, `seed`, ...)."""
        body = {"rows": list(rows)} | {key: value for key, value in options.items() if value is not None}
        answer: Json = self.request("POST", f"/v1/models/{model_id}/predict", json=body)
        return answer

    def newest(self, resource: str, limit: int, **query: str | None) -> list[Json]:
        """Return the newest `limit` items of `datasets`, `jobs` or `models`."""
        asked = {key: value for key, value in query.items() if value is not None}
        answer = self.request("GET", f"/v1/{resource}", params={"limit": limit, **asked})
        return list(answer["data"])


def problem_of(response: httpx.Response) -> Problem:
    """Return the problem that an answer holds, or one that says what little is known."""
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        return Problem(status=response.status_code, detail=f"HTTP {response.status_code} {response.reason_phrase}")
