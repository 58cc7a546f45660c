"""What README and docs/ say is true: commands exist, JSON is valid, links lead somewhere, tables are current."""

import itertools
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.main import get_command

from service.api.bodies import read_value
from service.api.bulk_submission import DatasetRequest
from service.api.inference.messages import InferRequest, InferResponse
from service.cli import app
from service.network import build_network
from service.network.beliefs import belief_stack
from service.predict.evaluation_messages import EvaluateRequest, ImportanceRequest
from service.predict.messages import PredictRequest
from service.problems import parse_spec
from service.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
DATASET = "ds_" + "0" * 26
MESSAGES = {"inputs": InferRequest, "model_name": InferResponse}
"""What a JSON object with this key is."""


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page in one of the languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def every(*languages: str) -> list[object]:
    """One parameter for each such block of each page."""
    return [
        pytest.param(text, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, text in enumerate(blocks(page, *languages), 1)
    ]


@pytest.mark.parametrize("text", every("json"))
def test_json_is_json_and_specifications_are_valid(text: str) -> None:
    value = json.loads(text)
    if isinstance(value, dict) and {"network", "loss", "data"} <= value.keys():
        value["data"]["dataset"] = DATASET
        parse_spec(json.dumps(value).encode())
    for key, message in MESSAGES.items():
        if isinstance(value, dict) and key in value:
            read_value(value, message)


def requests() -> list[object]:
    """One parameter for each JSON block that is a request to a model."""
    found = []
    for case in every("json"):
        value = json.loads(case.values[0])  # type: ignore[attr-defined]
        if isinstance(value, dict) and ("dataset" in value or isinstance(value.get("rows"), list)):
            found.append(case)
    return found


@pytest.mark.parametrize("text", requests())
def test_requests_to_models_are_valid(text: str) -> None:
    value = json.loads(text)
    if "dataset" not in value:
        PredictRequest.model_validate(value)
    elif "async" in value:
        DatasetRequest.model_validate(value)
    elif "repeats" in value:
        ImportanceRequest.model_validate(value)
    else:
        EvaluateRequest.model_validate(value)


def recipes() -> list[object]:
    """The examples of the cookbook, by the headings above them."""
    parts = re.findall(r"^## (.*?)$(.*?)(?=^## |\Z)", (ROOT / "docs" / "cookbook.md").read_text(), re.M | re.S)
    found = [(title, re.findall(r"^```json\n(.*?)^```$", text, re.M | re.S)) for title, text in parts]
    assert all(len(texts) == 1 for _, texts in found)
    return [pytest.param(texts[0], id=title) for title, texts in found]


@pytest.mark.parametrize("text", recipes())
def test_every_recipe_of_the_cookbook_builds(text: str) -> None:
    recipe = json.loads(text)
    data = {"dataset": DATASET, "target": "y", **recipe["spec"].pop("data", {})}
    spec = parse_spec(json.dumps({**recipe["spec"], "data": data}).encode())
    shape, outputs = tuple(recipe["input_shape"]), recipe["outputs"]
    network = build_network(spec.network, spec.regularization, shape, outputs)
    if spec.pretrain is not None:
        belief_stack(spec.network, network)
    assert network.records[-1].output_shape == (outputs,)


@pytest.mark.parametrize("text", every("sh"))
def test_commands_exist(text: str) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for line in text.splitlines():
        for program, argument in re.findall(r"^(make|trainyard) ([\w-]+)", line.removeprefix("$ ")):
            assert argument in (targets if program == "make" else commands), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_variables_that_pages_name_are_settings() -> None:
    known = {f"TRAINYARD_{name.upper()}" for name in Settings.model_fields}
    files = [*PAGES, ROOT / "docker-compose.yml", ROOT / "Dockerfile"]
    named = {name for file in files for name in re.findall(r"TRAINYARD_[A-Z_]*[A-Z]", file.read_text())}
    assert named <= known


def test_every_setting_and_error_code_is_documented() -> None:
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    for name, page in generate["PAGES"].items():
        assert (ROOT / "docs" / name).read_text() == page(), "run `make docs`"


def test_every_promise_of_reliability_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    named = [re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", row) for row in rows]
    assert all(named)
    for path, name in itertools.chain(*named):
        assert not name or f"def {name}(" in (ROOT / path).read_text(), (path, name)
        assert (ROOT / path).exists(), path


def test_every_page_is_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for page in sorted((ROOT / "docs").rglob("*.md")):
        assert page.name == "index.md" or f"({page.relative_to(ROOT / 'docs')})" in index, page


def test_decisions_are_short_and_name_what_enforces_them() -> None:
    for page in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        text = page.read_text()
        assert len(text.splitlines()) <= 40, page
        enforced = text.partition("\nEnforced by ")[2]
        paths = re.findall(r"`([\w/.-]+\.(?:py|toml))", enforced)
        assert paths, page
        assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", ["wine", "breast_cancer", "diabetes", "digits"])
def test_example_specifications_are_valid(name: str) -> None:
    spec = json.loads((ROOT / "examples" / f"{name}.json").read_text())
    spec["data"]["dataset"] = DATASET
    assert parse_spec(json.dumps(spec).encode()).name


def test_example_data_is_what_scikit_learn_has(tmp_path: Path) -> None:
    script = (ROOT / "examples" / "make_data.py").read_text()
    (tmp_path / "make_data.py").write_text(script)
    subprocess.run([sys.executable, "make_data.py"], cwd=tmp_path, check=True)
    for name in ("wine.csv", "breast_cancer.csv", "diabetes.csv"):
        assert (tmp_path / name).read_bytes() == (ROOT / "examples" / name).read_bytes()
    with np.load(tmp_path / "digits.npz") as made, np.load(ROOT / "examples" / "digits.npz") as kept:
        assert all(np.array_equal(made[name], kept[name]) for name in ("x", "y"))


def test_compose_starts_the_commands_that_exist_in_the_right_order() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(services) == {"postgres", "redis", "migrate", "api", "worker", "predictor", "worker-gpu"}
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name in ("migrate", "api", "worker", "predictor", "worker-gpu"):
        assert services[name]["command"][0] in commands
    for name in ("api", "worker", "predictor", "worker-gpu"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    for name in ("postgres", "redis", "api"):
        assert services[name]["healthcheck"]["test"]
    assert services["worker-gpu"]["profiles"] == ["gpu"]


def test_ci_runs_the_checks_and_the_tests() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "make lint" in script
    assert "make test" in script
