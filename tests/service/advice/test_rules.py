"""Every rule, broken and just kept; and that nothing is said of what is good, or raised by what is strange."""

import json
import re
from pathlib import Path

import pytest

from service.advice import RULES, THEMES, Rule, advise
from service.data.pipeline import input_shape_of, target_of, token_count_of
from service.network import build_network
from service.problems import read_draft
from tests.service.advice import of_data, of_layers, of_training
from tests.service.advice.given import (
    DATASET,
    DROP,
    Case,
    Given,
    columns,
    dense,
    images,
    number,
    rows,
    sequences,
    table,
)
from tests.support import every_block
from tests.support.uploaded import LIMITS, Uploader

ROOT = Path(__file__).parents[3]
CASES = [*of_layers.CASES, *of_training.CASES, *of_data.CASES]
EXAMPLES = ["wine.csv", "breast_cancer.csv", "diabetes.csv", "digits.npz"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.path}")
def test_a_rule_that_is_broken_is_named_where_it_is(case: Case, tmp_path: Path) -> None:
    found = [advice for advice in case.breaks.advice(tmp_path) if advice.code == case.code]
    assert [advice.path for advice in found][:1] == [case.path]
    for advice in found:
        assert advice.source == next(rule.source for rule in RULES if rule.code == case.code)
        assert advice.reason.endswith(".") and advice.mend.endswith(".")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.path}")
def test_a_rule_that_is_kept_is_not_named(case: Case, tmp_path: Path) -> None:
    assert case.code not in {advice.code for advice in case.keeps.advice(tmp_path)}


def test_what_layers_share_is_named_once(tmp_path: Path) -> None:
    shared = table(dense(), dense(), DROP, network={"initializer": "glorot_normal"}).advice(tmp_path)
    assert [(advice.code, advice.path) for advice in shared] == [("rectifier_initializer", "network.initializer")]


def test_every_rule_is_broken_and_kept_by_a_case() -> None:
    assert {case.code for case in CASES} == {rule.code for rule in RULES}
    assert len(RULES) == len({rule.code for rule in RULES}) >= 50


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_rule_says_what_it_is_and_where_it_is_written(rule: Rule) -> None:
    assert rule.says.endswith(".") and len(rule.says) > 20
    assert re.match(r"\w.* (19|20)\d\d, \"", rule.source)


def test_every_theme_has_rules() -> None:
    assert all(THEMES.values())
    assert all((theme.__doc__ or "").strip() for theme in THEMES)


@pytest.mark.parametrize("good", [table(), number(), images(), sequences(), rows(columns())], ids=str)
def test_nothing_is_said_of_what_is_good(good: Given, tmp_path: Path) -> None:
    assert good.advice(tmp_path) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_is_said_of_the_examples(name: str, tmp_path: Path) -> None:
    file = ROOT / "examples" / name
    body = json.loads(file.with_suffix(".json").read_text())
    body["data"]["dataset"] = DATASET
    assert said_of(body, file.suffix[1:], file.read_bytes(), tmp_path) == []


def test_nothing_is_said_of_the_first_job_of_the_readme(tmp_path: Path) -> None:
    text = re.search(r"""-d '(\{"network".*?\})' \|""", (ROOT / "README.md").read_text())
    assert text is not None
    body = json.loads(text[1].replace("'$DATASET'", DATASET))
    assert said_of(body, "csv", (ROOT / "examples" / "wine.csv").read_bytes(), tmp_path) == []


@pytest.mark.parametrize("case", [*every_block.cases()], ids=lambda case: case.name)
def test_no_block_makes_a_rule_raise(case: every_block.Case, tmp_path: Path) -> None:
    body = {**case.spec, "data": {**case.spec["data"], "dataset": DATASET}}
    found = said_of(body, *every_block.DATA[case.data], tmp_path)
    spec = read_draft(body).spec
    assert spec is not None
    assert set(found) <= {rule.code for rule in RULES}
    assert {advice.code for advice in advise(spec)} <= {rule.code for rule in RULES}


def said_of(body: dict[str, object], format: str, content: bytes, folder: Path) -> list[str]:
    """Return the codes of the advice on a job, looked at as the API does."""
    spec = read_draft(body).spec
    assert spec is not None
    profile = Uploader(folder)(content, format, LIMITS).profile
    shape, outputs = input_shape_of(spec, profile.columns), spec.loss.outputs(target_of(spec, profile.columns))
    tokens = token_count_of(spec, profile.columns)
    network = build_network(spec.network, spec.regularization, shape, outputs, vocabulary=tokens)
    return [advice.code for advice in advise(spec, network, profile)]
