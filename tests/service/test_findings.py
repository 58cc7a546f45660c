"""Translating pydantic's findings for any model, not only specifications."""

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.findings import did_you_mean, join, problems_of, shown


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    width: int = Field(ge=1, le=9)
    names: list[str] = Field(max_length=2)


class Table(BaseModel):
    rows: list[Row]


def findings(body: object, **options: object) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        Table.model_validate(body)
    return [(p.path, p.message) for p in problems_of(caught.value, body, **options)]  # type: ignore[arg-type]


def test_paths_and_words() -> None:
    body = {"rows": [{"width": 0, "names": [1, "b"], "wdth": 1}, {"names": ["a", "b", "c"]}, 7]}
    assert findings(body, prefix="spec", model=Table) == [
        ("spec.rows[0].width", "must be at least 1"),
        ("spec.rows[0].names[0]", "must be a string"),
        ("spec.rows[0].wdth", 'is not a field here; did you mean "width"?'),
        ("spec.rows[1].width", "is required"),
        ("spec.rows[1].names", "must be at most 2 long"),
        ("spec.rows[2]", "must be an object"),
    ]


def test_without_the_model_unknown_fields_have_no_suggestion() -> None:
    assert findings({"rows": [{"width": 1, "names": [], "wdth": 1}]}) == [("rows[0].wdth", "is not a field here")]


def test_steps_join_to_paths() -> None:
    assert join("", "a") == "a" and join("a", "b") == "a.b" and join("a", 3) == "a[3]"
    assert join("a", "no name") == 'a["no name"]' and join("", "") == '[""]'


def test_close_names_are_suggested_and_far_ones_not() -> None:
    assert did_you_mean("unist", ["units", "name"]) == '; did you mean "units"?'
    assert did_you_mean("xyz", ["units"]) == "" == did_you_mean(3, ["units"])


def test_values_are_shown_short() -> None:
    assert shown({"a": 1}) == {"a": 1}
    assert len(str(shown(["x"] * 1000))) < 600
    assert shown(b"bytes") == "b'bytes'"
    assert shown(2**70) == str(2**70)
