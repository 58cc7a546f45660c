"""What every answer shares: times as RFC 3339 text, and the specification as a reference to its schema."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from service.times import rfc3339


class Answer(BaseModel):
    """A JSON object that the API answers with."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


Time = Annotated[
    float, PlainSerializer(rfc3339, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""Seconds since 1970 inside, RFC 3339 text outside."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
JsonObject = dict[str, Any]
Count = Annotated[int, Field(ge=0)]
