"""Files of rows to be predicted: which bodies are such, the options in their query, and the form of the answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query

from service.api.bodies import read_value
from service.api.inference.options import parsed
from service.errors import InvalidInput, NotAcceptable, Problem
from service.predict.bulk.writers import WRITERS, Writer
from service.predict.messages import PredictOptions
from service.predict.options import MOST_SAMPLES

FILES = {
    "application/vnd.apache.parquet": "Rows as Parquet. Options stand in the query.",
    "text/csv": "Rows as CSV or TSV in UTF-8 with a header line. Options stand in the query.",
    "application/x-ndjson": "One row a line, an object or an array. Options stand in the query.",
}
ALSO = {
    "application/csv", "text/tab-separated-values", "application/x-parquet", "application/parquet",
    "application/jsonl", "application/ndjson", "multipart/form-data",
}  # fmt: skip
ANSWERS: dict[str, type[Writer]] = {kind.media_type: kind for kind in WRITERS.values()} | {
    "application/jsonl": WRITERS["ndjson"],
    "application/ndjson": WRITERS["ndjson"],
    "application/x-parquet": WRITERS["parquet"],
    "application/parquet": WRITERS["parquet"],
}
ANY = {"*/*": "ndjson", "application/*": "ndjson", "text/*": "csv"}


def is_file(content_type: str | None) -> bool:
    """Return whether a body of this type is a file of rows."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    return kind in FILES or kind in ALSO


def writer_for(accept: str | None) -> type[Writer]:
    """Return what writes the answer, by the first of the types that the client accepts best.

    Raises:
        NotAcceptable: The client accepts none of those that there are.
    """
    offered = [_weighed(kind) for kind in (accept or "*/*").split(",")]
    for weight, kind in sorted(offered, key=lambda each: -each[0]):
        if weight > 0 and (kind in ANSWERS or kind in ANY):
            return ANSWERS.get(kind) or WRITERS[ANY[kind]]
    raise NotAcceptable(
        f"A file of rows is answered as {', '.join(FILES)}; the Accept of this request is {(accept or '')[:200]!r}."
    )


def _weighed(kind: str) -> tuple[float, str]:
    name, *parameters = (part.strip().lower() for part in kind.split(";"))
    weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
    try:
        return float(weights[0]) if weights else 1.0, name
    except ValueError:
        return 0.0, name


@dataclass(frozen=True)
class BulkQuery:
    """The options in the query of a request, as far as they are given."""

    given: Mapping[str, Any]
    later: bool
    """Whether the predictions are to be made later, by a predictor."""

    def read(self) -> PredictOptions:
        """Return the options.

        Raises:
            InvalidInput: With every problem.
        """
        return read_value(dict(self.given), PredictOptions)

    def refuse(self) -> None:
        """Refuse options beside a body of JSON, in which they would be fields.

        Raises:
            InvalidInput: There are some.
        """
        names = [*self.given, *(["async"] if self.later else [])]
        if names:
            message = (
                "goes with a file of rows (CSV, Parquet, one JSON object a line); in JSON it is a field of the body"
            )
            raise InvalidInput([Problem(name, message) for name in names])


Samples = Annotated[int | None, Query(ge=0, le=MOST_SAMPLES, description="For a file: Monte-Carlo samples a row.")]
Seed = Annotated[int | None, Query(ge=0, lt=2**63, description="For a file: which thinned networks.")]
Flag = Annotated[bool | None, Query(description="For a file: whether calibration is applied.")]
Keep = Annotated[bool | None, Query(description="For a file: whether every sample is part of the answer.")]
Levels = Annotated[str | None, Query(description="For a file, of a regression: which quantiles, as 0.05,0.95.")]
Intervals = Annotated[
    str | None, Query(description="For a file, of a regression: which central intervals, as 0.5,0.9.")
]
Precision = Annotated[str | None, Query(description="For a file, of a regression: one over the variance of its noise.")]
Coverage = Annotated[float | None, Query(description="For a file: coverage of conformal sets or intervals.")]
Early = Annotated[str | None, Query(description='For a file: when a row has samples enough, as {"tolerance": 0.01}.')]
Doubtful = Annotated[str | None, Query(description='For a file: which rows are marked, as {"coverage": 0.9}.')]
Later = Annotated[bool, Query(alias="async", description="For a file: answer 202, and have a predictor do it.")]


def bulk_query(
    mc_samples: Samples = None,
    seed: Seed = None,
    calibrated: Flag = None,
    return_samples: Keep = None,
    quantiles: Levels = None,
    intervals: Intervals = None,
    noise_precision: Precision = None,
    coverage: Coverage = None,
    adaptive: Early = None,
    abstain: Doubtful = None,
    later: Later = False,
) -> BulkQuery:
    """Return the options of a request."""
    numbers = {
        "mc_samples": mc_samples,
        "seed": seed,
        "calibrated": calibrated,
        "return_samples": return_samples,
        "noise_precision": parsed(noise_precision),
        "coverage": coverage,
        "adaptive": parsed(adaptive),
        "abstain": parsed(abstain),
    }
    lists = {"quantiles": quantiles, "intervals": intervals}
    given = {name: value for name, value in numbers.items() if value is not None}
    return BulkQuery(given | {name: _list(text) for name, text in lists.items() if text is not None}, later)


def _list(text: str) -> object:
    found = parsed(text.strip())
    if found == "":
        return []
    return found if isinstance(found, list | str) else [found]


BulkOptions = Annotated[BulkQuery, Depends(bulk_query)]
NO_OPTIONS = BulkQuery({}, False)
