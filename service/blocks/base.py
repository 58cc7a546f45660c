"""What every building block is: a frozen pydantic model with a literal `type` that builds its own part.

A family (layers, activations, losses, ...) is a subclass of `Block` marked `family="..."`; a block is
a subclass of its family with `type: Literal["name"] = "name"`. Writing the class is all there is to
do: `Annotated[Layer, OneOf()]` accepts every member of the family, tagged by `type`, or the bare name
of one whose fields all have defaults.
"""

import builtins
import typing
from collections.abc import Iterator
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

B = TypeVar("B", bound="Block")

Shape = tuple[int, ...]
"""A shape without the batch dimension; channels come first."""

TAG = "\x00"
"""First character of the steps that a tagged union adds to the place of an error; no JSON path shows them."""


class Strict(BaseModel):
    """A frozen part of the language that refuses unknown fields, NaN and implicit conversions."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        defer_build=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )


class Block(Strict):
    """One building block: its JSON form and what it builds, in one class."""

    type: str
    family: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not (cls.__doc__ or "").strip():
            raise TypeError(f"{cls.__name__} needs a docstring: it is what the documentation shows")

    @classmethod
    def tag(cls) -> str | None:
        """The literal of `type`, or None for a family or a shared base."""
        values = typing.get_args(cls.model_fields["type"].annotation)
        return values[0] if values else None

    @classmethod
    def members(cls) -> dict[str, builtins.type[Self]]:
        """Every block of this family by its name, in the order of the names."""
        found: dict[str, builtins.type[Self]] = {}
        for member in _descendants(cls):
            tag = member.tag()
            if tag is None:
                continue
            if tag in found:
                raise TypeError(f"{found[tag].__name__} and {member.__name__} are both called {tag!r}")
            found[tag] = member
        return dict(sorted(found.items()))

    @classmethod
    def object_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of the block as an object, also where the block may hold others of its kind."""
        found = cls.model_json_schema()
        if "$ref" not in found:
            return found
        return {**found["$defs"][found["$ref"].rsplit("/", 1)[-1]], "$defs": found["$defs"]}

    @classmethod
    def needs_nothing(cls) -> bool:
        """True when the bare name says it all."""
        return not any(field.is_required() for name, field in cls.model_fields.items() if name != "type")


def _descendants(cls: type[B]) -> Iterator[type[B]]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)


class OneOf:
    """Annotation that accepts any member of a block family: `Annotated[Layer, OneOf()]`."""

    def __get_pydantic_core_schema__(self, source: type[Block], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return a union tagged by `type` behind a reader that turns a bare name into an object."""
        members = source.members()
        tagged = core_schema.tagged_union_schema(
            {TAG + tag: handler.generate_schema(member) for tag, member in members.items()}, discriminator=_choice
        )

        def read(value: object) -> object:
            return _read(value, source.family, members)

        return core_schema.no_info_before_validator_function(read, tagged, metadata={"family": source})

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the members' schemas and, where defaults serve, their bare names."""
        family: type[Block] = schema["metadata"]["family"]
        objects = {**handler(schema), "discriminator": {"propertyName": "type"}}
        bare = [tag for tag, member in family.members().items() if member.needs_nothing()]
        known = {"x-family": family.family}
        return {"anyOf": [{"type": "string", "enum": bare}, objects], **known} if bare else {**objects, **known}


def _choice(value: Any) -> str:
    return f"{TAG}{value['type'] if isinstance(value, dict) else value.type}"


def _read(value: object, family: str, members: dict[str, Any]) -> object:
    """Return a block or an object whose `type` is known; a bare name becomes an object."""
    if isinstance(value, Block):
        return value
    if isinstance(value, str):
        value = {"type": value}
    kind = "an" if family[0] in "aeiou" else "a"
    if not isinstance(value, dict):
        raise PydanticCustomError(
            "not_a_block", f"must be {kind} {family}: an object with a `type`, or a bare name", {"allowed": [*members]}
        )
    tag = value.get("type")
    if not isinstance(tag, str) or tag not in members:
        raise PydanticCustomError(
            "unknown_block", f"must be the name of {kind} {family}", {"allowed": [*members], "field": "type"}
        )
    return value
