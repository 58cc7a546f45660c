"""Writes the pages that follow from the code: `python docs/generate.py`. A test asserts that they are current."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from pydantic.fields import FieldInfo

from service import errors, failures
from service.advice import THEMES, Rule
from service.errors import TrainyardError
from service.failures import TrainingFailed
from service.settings import Settings

HERE = Path(__file__).parent


def settings_page() -> str:
    """Return the table of all settings."""
    prefix = Settings.model_config["env_prefix"]
    rows = [
        f"| `{prefix}{name.upper()}` | {_default(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return f"""# Settings

Every setting is an environment variable; there is no other configuration. What a command line option says
(`--home`, `--host`, `--port`, `--slots`, `--url`) goes before its variable. Server and worker must agree on
`{prefix}DATABASE_URL` and `{prefix}BROKER_URL`, or on `{prefix}HOME`.

| variable | default | meaning |
|---|---|---|
""" + "".join(f"{row}\n" for row in rows)


def _default(field: FieldInfo) -> str:
    return "" if field.default is None else f"`{field.default}`"


def errors_page() -> str:
    """Return the table of all error codes."""
    found = {kind for module in (errors, failures) for _, kind in inspect.getmembers(module, inspect.isclass)}
    kinds = [kind for kind in found if issubclass(kind, TrainyardError)]
    ordered = sorted(kinds, key=lambda kind: (kind.status, kind.code))
    answers = [_error_row(kind, f"{kind.status} | ") for kind in ordered if not issubclass(kind, TrainingFailed)]
    endings = [_error_row(kind, "") for kind in ordered if issubclass(kind, TrainingFailed)]
    return f"""# Errors

Every error is an `application/problem+json` document (RFC 9457): `type`, `title`, `status`, `detail`, `instance`,
a stable `code`, and for values that are not allowed a list `errors` of `path`, `message`, `got` and `allowed`. All
values that are wrong are named at once. Nothing that a client sends is answered with 500.

| status | code | meaning |
|---|---|---|
{chr(10).join(answers)}

A job that failed says why in `error`, with one of these codes and a sentence:

| code | meaning |
|---|---|
{chr(10).join(endings)}
"""


def _error_row(kind: type[TrainyardError], first: str) -> str:
    return f"| {first}`{kind.code}` | {(kind.__doc__ or '').strip().splitlines()[0]} |"


def advice_page() -> str:
    """Return the table of every rule of advice, by theme."""
    themes = "\n".join(_theme(theme, rules) for theme, rules in THEMES.items())
    return f"""# Advice

`POST /v1/networks/validate` and `trainyard validate` answer, besides shapes and costs, the rules of the trade that a
specification breaks. Each piece of advice has a `code` (below), the JSON `path` of what breaks the rule, the `reason`
why it matters, the `source` where the rule is written, and a `mend`. Advice never blocks: a job that breaks every rule
is trained all the same. Rules that look at columns, classes or numbers of rows need a specification that names its
data set.

{themes}"""


def _theme(theme: ModuleType, rules: Sequence[Rule]) -> str:
    title = (theme.__doc__ or "").strip().splitlines()[0].rstrip(".")
    rows = "".join(f"| `{rule.code}` | {rule.says} | {rule.source} |\n" for rule in rules)
    return f"## {title}\n\n| code | rule | source |\n|---|---|---|\n{rows}"


PAGES = {"advice.md": advice_page, "settings.md": settings_page, "errors.md": errors_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page())
