"""`/v1/networks`: what would come of a specification, without training."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from pydantic import Field

from service.advice import advise
from service.api.answers.networks import NetworkCheck
from service.api.bodies import read_json
from service.api.deps import Backend, JsonBody, Service, known_query
from service.api.examples import CHECKS
from service.api.openapi import BODY_ERRORS, errors, json_request
from service.api.submission import build, examine
from service.blocks.base import Shape, Strict
from service.errors import InvalidInput, InvalidSpec, Problem
from service.network import Network
from service.problems import parse_spec
from service.spec import JobSpec
from service.summary import summarize

NO_DATASET = "ds_" + "0" * 26

router = APIRouter(prefix="/v1/networks", tags=["networks"], dependencies=[Depends(known_query)])


class CheckRequest(Strict):
    """A specification to look at; without a data set, the shapes that one would have given."""

    spec: dict[str, Any]
    """The specification, as for a job; `data`, or its `dataset`, may be left out."""
    input_shape: Annotated[list[Annotated[int, Field(ge=1, le=2**31)]], Field(min_length=1, max_length=8)] | None = None
    """Shape of a row as it reaches the first layer, channels first; default: what the data set gives."""
    outputs: Annotated[int, Field(ge=1, le=2**31)] | None = None
    """How many numbers the loss needs: classes, or columns to predict; default: what the data set gives."""
