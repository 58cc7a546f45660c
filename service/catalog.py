"""Every building block of the language, from its class: for `GET /v1/blocks` and for docs/blocks.md.

`python -m service.catalog` prints the page.
"""

import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson

from service.blocks.activations import Activation
from service.blocks.augmentation import Augmentation
from service.blocks.averaging import Averaging
from service.blocks.base import Block, Strict
from service.blocks.initializers import Initializer
from service.blocks.layers import Layer
from service.blocks.losses import Loss
from service.blocks.metrics import Metric
from service.blocks.mixing import Mixing
from service.blocks.optimizers import Optimizer
from service.blocks.preprocessing import Preprocessing
from service.blocks.pretraining import Pretraining
from service.blocks.regularizers import Constraint, EarlyStopping, Regularizer
from service.blocks.schedules import Schedule

FAMILIES: tuple[type[Block], ...] = (
    Layer,
    Activation,
    Initializer,
    Loss,
    Metric,
    Optimizer,
    Schedule,
    Averaging,
    Pretraining,
    Preprocessing,
    Augmentation,
    Mixing,
)
"""The families, in the order in which people meet them."""

PARTS: dict[str, type[Strict]] = {
    "regularizer": Regularizer,
    "constraint": Constraint,
    "early_stopping": EarlyStopping,
}
"""Objects that come in one kind only, and so have no `type`."""

PREAMBLE = """# Building blocks

Written by `python -m service.catalog` from the classes in `service/blocks/`; a test fails when it is not current.
`GET /v1/blocks` answers the same with the JSON Schema of every block.

A block is an object with a `type`. One whose fields all have defaults may be given by its bare name:
`"activation": "relu"` equals `"activation": {"type": "relu"}`. Shapes leave out the batch and put channels first."""


@dataclass(frozen=True)
class BlockInfo:
    """A building block as the documentation shows it."""

    family: str
    type: str
    description: str
    bare: bool
    schema: dict[str, Any]


@cache
def catalog() -> tuple[BlockInfo, ...]:
    """Return every block, by family and name."""
    return tuple(
        BlockInfo(family.family, tag, _text(member), member.needs_nothing(), member.object_schema())
        for family in FAMILIES
        for tag, member in family.members().items()
    )


def page() -> str:
    """Return docs/blocks.md."""
    lines = [PREAMBLE]
    for family in FAMILIES:
        lines.append(f"## {family.family.replace('_', ' ').capitalize()}\n\n{_text(family)}")
        lines += [_section(f"`{b.type}`", b.description, b.schema) for b in catalog() if b.family == family.family]
    lines.append("## Parts without a type\n\nObjects that come in one kind only.")
    lines += [_section(f"`{name}`", _text(part), part.model_json_schema()) for name, part in PARTS.items()]
    return "\n\n".join(lines) + "\n"


def _section(title: str, text: str, schema: dict[str, Any]) -> str:
    rows = [_row(name, field, name in schema.get("required", [])) for name, field in _fields(schema)]
    table = ["", "", "| field | value | default | |", "|---|---|---|---|", *rows] if rows else []
    return f"### {title}\n\n{text}" + "\n".join(table)


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        if name != "type":
            yield name, field


def _row(name: str, field: dict[str, Any], required: bool) -> str:
    default = "required" if required else f"`{_json(field.get('default'))}`"
    text = " ".join(field.get("description", "").split()).replace("|", r"\|")
    return f"| `{name}` | {_kind(field)} | {default} | {text} |"


def _kind(field: dict[str, Any]) -> str:
    """Return in words what a field may be."""
    if "x-family" in field:
        return f"{field['x-family']} block"
    if "$ref" in field:
        return f"{_snake(field['$ref'].rsplit('/', 1)[-1])} object"
    if "const" in field or "enum" in field:
        return " or ".join(f"`{_json(value)}`" for value in field.get("enum", [field.get("const")]))
    if "anyOf" in field:
        return " or ".join(_kind(option) for option in field["anyOf"] if option.get("type") != "null")
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return " ".join([str(field.get("type", "any")), *_bounds(field)])


def _bounds(field: dict[str, Any]) -> Iterator[str]:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    found = [f"{sign} {field[key]:g}" for key, sign in signs.items() if key in field]
    if found:
        yield ", ".join(found)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _text(block: type[Strict]) -> str:
    return inspect.getdoc(block) or ""


if __name__ == "__main__":
    sys.stdout.write(page())
