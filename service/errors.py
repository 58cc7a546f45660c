"""Every error a person may see, one tree. The HTTP status and the stable code stand on the class.

TrainyardError                      500 internal_error
|-- InvalidInput                    422 invalid_input        (carries a list of Problem)
|   |-- InvalidSpec                 422 invalid_spec
|   |-- InvalidDataset              422 invalid_dataset
|   |-- InvalidWeights              422 invalid_weights
|   |-- InvalidRows                 422 invalid_rows
|   |-- InvalidModel                422 invalid_model
|   |-- NotExportable               422 not_exportable
|   `-- IdempotencyMismatch         422 idempotency_mismatch
|-- MalformedRequest                400 malformed_request
|-- NotFound                        404 not_found
|-- MethodNotAllowed                405 method_not_allowed
|-- NotAcceptable                   406 not_acceptable
|-- Conflict                        409 conflict
|   |-- InUse                       409 in_use
|   |-- WrongState                  409 wrong_state
|   `-- RequestInFlight             409 request_in_flight
|-- TooLarge                        413 too_large
|-- UnsupportedMediaType            415 unsupported_media_type
|-- QueueFull                       429 queue_full
|-- Unavailable                     503 unavailable
|   `-- Overloaded                  503 overloaded
|-- CorruptBlob                     500 corrupt_blob         (bytes in the store fail their SHA-256)
|-- SchemaMismatch                  503 schema_mismatch      (database ahead of or behind the code)
`-- TrainingFailed                  see service/failures.py (kept on the job, never an HTTP answer)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an input: where, what came and what is allowed (JSON values; a list, or a sentence).

    `path` is a JSON path without the leading `$.`, e.g. `network.layers[3].units`; empty for the whole body.
    """

    path: str
    message: str
    got: Any = None
    allowed: Any = None


class TrainyardError(Exception):
    """Something went wrong inside the service."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retry_after: ClassVar[int | None] = None  # seconds after which the same request may be answered better

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(self.message)

    @property
    def title(self) -> str:
        """The sentence that stays the same for every error of this class."""
        return (type(self).__doc__ or "").strip().splitlines()[0]


class InvalidInput(TrainyardError):
    """The request holds values that are not allowed."""

    status = 422
    code = "invalid_input"

    def __init__(self, problems: Sequence[Problem], message: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__(message or "; ".join(f"{p.path or 'body'}: {p.message}" for p in self.problems[:3]))


class InvalidSpec(InvalidInput):
    """The job specification is not valid."""

    code = "invalid_spec"


class InvalidDataset(InvalidInput):
    """The uploaded file cannot be read as a data set."""

    code = "invalid_dataset"


class InvalidWeights(InvalidInput):
    """The uploaded file cannot be read as weights."""

    code = "invalid_weights"


class InvalidRows(InvalidInput):
    """The rows do not fit the columns of the model."""

    code = "invalid_rows"


class InvalidModel(InvalidInput):
    """The uploaded file cannot be read as a model."""

    code = "invalid_model"


class NotExportable(InvalidInput):
    """The model cannot be written in this format."""

    code = "not_exportable"


class IdempotencyMismatch(InvalidInput):
    """This Idempotency-Key was used before with another request."""

    code = "idempotency_mismatch"


class MalformedRequest(TrainyardError):
    """The request body is not well-formed."""

    status = 400
    code = "malformed_request"


class NotFound(TrainyardError):
    """There is nothing with this id."""

    status = 404
    code = "not_found"


class MethodNotAllowed(TrainyardError):
    """This resource does not know this method."""

    status = 405
    code = "method_not_allowed"


class NotAcceptable(TrainyardError):
    """The answer has no form that the client accepts."""

    status = 406
    code = "not_acceptable"


class Conflict(TrainyardError):
    """The request does not fit the present state."""

    status = 409
    code = "conflict"


class InUse(Conflict):
    """Something else still needs this."""

    code = "in_use"


class WrongState(Conflict):
    """The job's state does not allow this command."""

    code = "wrong_state"


class RequestInFlight(Conflict):
    """A request with this Idempotency-Key is still being answered."""

    code = "request_in_flight"


class TooLarge(TrainyardError):
    """The request is larger than this service accepts."""

    status = 413
    code = "too_large"


class UnsupportedMediaType(TrainyardError):
    """The Content-Type is not one this resource reads."""

    status = 415
    code = "unsupported_media_type"


class QueueFull(TrainyardError):
    """As many jobs wait as may."""

    status = 429
    code = "queue_full"
    retry_after = 10


class Unavailable(TrainyardError):
    """The service cannot answer this right now."""

    status = 503
    code = "unavailable"
    retry_after = 2


class Overloaded(Unavailable):
    """More is being asked than this server can answer in time; try again in a moment."""

    code = "overloaded"


class CorruptBlob(TrainyardError):
    """Stored bytes do not match their SHA-256."""

    code = "corrupt_blob"


class SchemaMismatch(TrainyardError):
    """The database schema is not the one this version needs."""

    status = 503
    code = "schema_mismatch"
