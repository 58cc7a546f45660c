"""Field types that several blocks share: one clear message each, one canonical form."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MAX_UNITS = 10_000_000
MAX_KERNEL = 10_000
AUTO = "auto"


class Says:
    """Annotation: whatever does not fit the type is refused in one sentence, at one place.

    A union of an integer and a name would otherwise give one error per member, each at a place that
    is not in the JSON.
    """

    def __init__(self, allowed: str) -> None:
        self.allowed = allowed

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the type's own schema with one error of ours."""
        return core_schema.custom_error_schema(
            handler(source),
            custom_error_type="choice",
            custom_error_message=f"must be {self.allowed}",
            custom_error_context={"allowed": self.allowed},
        )


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check_units(value: object) -> object:
    if value == AUTO or _whole(value, 1, MAX_UNITS):
        return value
    raise PydanticCustomError(
        "units", "must be {allowed}", {"allowed": f'a whole number from 1 to {MAX_UNITS}, or "auto" on the last layer'}
    )


Units = Annotated[
    int | Literal["auto"],
    BeforeValidator(_check_units),
    WithJsonSchema({"anyOf": [{"const": AUTO}, {"type": "integer", "minimum": 1, "maximum": MAX_UNITS}]}),
]
"""A number of units, or "auto" on the last layer: as many as the loss and the data call for."""


def per_axis(axes: int, low: int, high: int = MAX_KERNEL) -> Any:
    """Return the validator of a size along each of `axes` axes; one number stands for all of them."""

    def check(value: object) -> object:
        sizes = [value] * axes if isinstance(value, int) else value
        if isinstance(sizes, list | tuple) and len(sizes) == axes and all(_whole(s, low, high) for s in sizes):
            return tuple(sizes)
        allowed = f"a whole number from {low} to {high}" + (f", or a list of {axes} of them" if axes > 1 else "")
        raise PydanticCustomError("size", "must be {allowed}", {"allowed": allowed})

    return BeforeValidator(check)


def per_axis_schema(axes: int, low: int) -> WithJsonSchema:
    """Return the JSON Schema that goes with `per_axis`."""
    one = {"type": "integer", "minimum": low, "maximum": MAX_KERNEL}
    return WithJsonSchema({"anyOf": [one, {"type": "array", "items": one, "minItems": axes, "maxItems": axes}]})


Size1 = Annotated[tuple[int, ...], per_axis(1, 1), per_axis_schema(1, 1)]
Size2 = Annotated[tuple[int, ...], per_axis(2, 1), per_axis_schema(2, 1)]
Size3 = Annotated[tuple[int, ...], per_axis(3, 1), per_axis_schema(3, 1)]
Rest1 = Annotated[tuple[int, ...], per_axis(1, 0), per_axis_schema(1, 0)]
Rest2 = Annotated[tuple[int, ...], per_axis(2, 0), per_axis_schema(2, 0)]
Rest3 = Annotated[tuple[int, ...], per_axis(3, 0), per_axis_schema(3, 0)]


def padding(axes: int) -> tuple[Any, Any]:
    """Return validator and JSON Schema of a padding: "valid", "same", or zeros added on each side of an axis."""
    sizes = per_axis(axes, 0).func

    def check(value: object) -> object:
        if value in ("valid", "same"):
            return value
        try:
            return sizes(value) if value != [0] * axes and value != 0 else "valid"
        except PydanticCustomError as error:
            allowed = f'"valid", "same" or {error.context["allowed"] if error.context else "a size"}'
            raise PydanticCustomError("padding", "must be {allowed}", {"allowed": allowed}) from error

    schema = per_axis_schema(axes, 0).json_schema or {}
    return BeforeValidator(check), WithJsonSchema({"anyOf": [{"enum": ["valid", "same"]}, *schema["anyOf"]]})


Padding1 = Annotated[tuple[int, ...] | str, *padding(1)]
Padding2 = Annotated[tuple[int, ...] | str, *padding(2)]
Padding3 = Annotated[tuple[int, ...] | str, *padding(3)]
Rate = Annotated[float, Field(ge=0, lt=1)]
