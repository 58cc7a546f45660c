"""JSON bodies that are not a whole job: parsed by the same reader, refused with the same problems."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from service.errors import InvalidInput
from service.problems import parse_json, problems_of

M = TypeVar("M", bound=BaseModel)


def read_json(body: bytes, model: type[M]) -> M:
    """Return the model that a JSON body describes.

    Raises:
        MalformedRequest: The body is not JSON.
        InvalidInput: With every problem of the body.
    """
    return read_value(parse_json(body), model)


def read_value(value: object, model: type[M]) -> M:
    """Return the model that a JSON value describes.

    Raises:
        InvalidInput: With every problem of the value.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidInput(problems_of(error, value, model=model)) from error
