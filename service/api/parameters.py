"""Parameters of paths and queries. An id that cannot be one is answered like an id that is not there: 404."""

from typing import Annotated, Any, Literal

from fastapi import Header, Path, Query

from service.submitters import HEADER, SUBMITTER_PATTERN

ID = "[0-9a-hjkmnp-tv-z]{26}$"

DatasetId = Annotated[str, Path(pattern=f"^ds_{ID}", description="Id of the data set.")]
JobId = Annotated[str, Path(pattern=f"^job_{ID}", description="Id of the job.")]
ModelId = Annotated[str, Path(pattern=f"^mdl_{ID}", description="Id of the model.")]
WeightsId = Annotated[str, Path(pattern=f"^wts_{ID}", description="Id of the weights.")]
PART = r"[^/@\x00-\x1f\x7f]"
"""A character of an alias: no end of a path, no second @, nothing that cannot be seen."""
ALIAS = rf"^{PART}{{1,200}}@{PART}{{1,64}}$"
MODEL_REFERENCE = rf"^(mdl_[0-9a-hjkmnp-tv-z]{{26}}|{PART}{{1,200}}@{PART}{{1,64}})$"
ModelReference = Annotated[
    str, Path(pattern=MODEL_REFERENCE, description="Id of the model, or an alias that leads to it: NAME@ALIAS.")
]
CheckpointId = Annotated[str, Path(pattern=f"^ckpt_{ID}", description="Id of the checkpoint.")]
WebhookId = Annotated[str, Path(pattern=f"^whk_{ID}", description="Id of the webhook.")]
PredictionId = Annotated[str, Path(pattern=f"^prd_{ID}", description="Id of the prediction.")]
DeliveryId = Annotated[str, Path(pattern=f"^dlv_{ID}", description="Id of the delivery.")]

NO_CONTROLS = r"^[^\x00-\x1f\x7f]+$"


def _name(default: str) -> Any:
    description = f"Name for people; default: {default}."
    return Query(min_length=1, max_length=200, pattern=NO_CONTROLS, description=description)


Name = Annotated[str | None, _name('the file\'s name, else "dataset"')]
Submitter = Annotated[
    str | None,
    Header(
        alias=HEADER,
        pattern=SUBMITTER_PATTERN,
        description='Whose job it is, for fair turns and limits: 1 to 200 printable characters; default: "anonymous".',
    ),
]
OfSubmitter = Annotated[
    str | None, Query(pattern=SUBMITTER_PATTERN, description="Only jobs of this submitter (`X-Trainyard-Submitter`).")
]
WeightsName = Annotated[str | None, _name('the file\'s name, else "weights"')]
ModelName = Annotated[str | None, _name("the name that the model had where it was exported")]
Step = Annotated[int | None, Query(ge=0, le=2**63 - 1)]
ImageSize = Annotated[
    str | None,
    Query(
        pattern=r"^[1-9][0-9]{0,3}x[1-9][0-9]{0,3}$",
        description="Of a ZIP of images: HEIGHTxWIDTH that all are resized to; default: the size that all have.",
    ),
]
Channels = Annotated[
    Literal["1", "3"] | None,
    Query(description="Of a ZIP of images: 1 reads them as grey, 3 as RGB; default: RGB if any is in colour."),
]
