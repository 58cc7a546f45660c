import json
from pathlib import Path
from typing import Any

import pytest

from service.api import examples
from service.api.app import create_app
from service.blocks.layers import Layer
from service.errors import TrainyardError
from service.failures import TrainingFailed
from service.predict.evaluation_messages import EvaluateRequest, ImportanceRequest
from service.predict.messages import PredictRequest
from service.problems import parse_spec
from service.settings import Settings

PROBLEM = "application/problem+json"
CARD = ("ModelCard", "CardNetwork", "CardLayer", "CardData", "CardColumn", "CardLimit")
WEBHOOKS = ("Webhook", "NewWebhook", "Delivery", "WebhookRequest")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The OpenAPI document, which needs no running server."""
    return json.loads(json.dumps(create_app(Settings(home=Path("/nonexistent"))).openapi()))


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of every operation."""
    return [(method, path, op) for path, item in document["paths"].items() for method, op in item.items()]


def test_every_resource_of_the_design_is_there(operations: Any) -> None:
    assert {(method, path) for method, path, _ in operations} == {
        ("get", "/"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/v1/blocks"),
        ("post", "/v1/datasets"),
        ("get", "/v1/datasets"),
        ("get", "/v1/datasets/{dataset_id}"),
        ("delete", "/v1/datasets/{dataset_id}"),
        ("get", "/v1/datasets/{dataset_id}/preview"),
        ("get", "/v1/datasets/{dataset_id}/statistics"),
        ("post", "/v1/networks/validate"),
        ("post", "/v1/jobs"),
        ("get", "/v1/jobs"),
        ("get", "/v1/jobs/{job_id}"),
        ("delete", "/v1/jobs/{job_id}"),
        *(("post", f"/v1/jobs/{{job_id}}/{name}") for name in ("pause", "resume", "cancel", "kill", "retry", "extend")),
        ("get", "/v1/jobs/{job_id}/metrics"),
        ("get", "/v1/jobs/{job_id}/events"),
        ("get", "/v1/jobs/{job_id}/profile"),
        ("get", "/v1/jobs/{job_id}/checkpoints"),
        ("get", "/v1/jobs/{job_id}/checkpoints/{checkpoint_id}/weights"),
        ("get", "/v1/models"),
        ("get", "/v1/models/{model_id}"),
        ("delete", "/v1/models/{model_id}"),
        ("post", "/v1/models/{model_id}/predict"),
        ("post", "/v1/models/{model_id}/evaluate"),
        ("post", "/v1/models/{model_id}/importance"),
        ("get", "/v1/models/{model_id}/weights"),
        ("post", "/v1/models/{model_id}/predictions"),
        ("get", "/v1/predictions"),
        ("get", "/v1/predictions/{prediction_id}"),
        ("delete", "/v1/predictions/{prediction_id}"),
        ("post", "/v1/predictions/{prediction_id}/cancel"),
        ("get", "/v1/predictions/{prediction_id}/result"),
        ("get", "/v1/models/{model_id}/export"),
        ("get", "/v1/models/{model_id}/card"),
        ("post", "/v1/models"),
        ("post", "/v1/webhooks"),
        ("get", "/v1/webhooks"),
        ("get", "/v1/webhooks/{webhook_id}"),
        ("delete", "/v1/webhooks/{webhook_id}"),
        ("post", "/v1/webhooks/{webhook_id}/test"),
        ("get", "/v1/webhooks/{webhook_id}/deliveries"),
        ("get", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}"),
        ("post", "/v1/weights"),
        ("get", "/v1/weights"),
        ("get", "/v1/weights/{weights_id}"),
        ("delete", "/v1/weights/{weights_id}"),
        ("get", "/v1/models/{model_id}/aliases"),
        ("put", "/v1/models/{model_id}/aliases/{alias}"),
        ("delete", "/v1/models/{model_id}/aliases/{alias}"),
        ("get", "/v1/aliases"),
        *(("get", f"/v2{path}") for path in ("", "/health/live", "/health/ready")),
        ("post", "/v2/repository/index"),
        *(("get", f"/v2/models/{{model_id}}{path}") for path in ("", "/ready", "/config")),
        *(("get", f"/v2/models/{{model_id}}/versions/{{version}}{path}") for path in ("", "/ready", "/config")),
        ("post", "/v2/models/{model_id}/infer"),
        ("post", "/v2/models/{model_id}/versions/{version}/infer"),
    }


def test_every_operation_can_be_called_by_name_and_is_explained(operations: Any) -> None:
    names = [op["operationId"] for _, _, op in operations]
    assert len(set(names)) == len(names)
    for method, path, op in operations:
        assert op["operationId"].replace("_", "").isalpha(), op["operationId"]
        assert op["summary"] and op["description"] and op["tags"], (method, path)


def test_every_error_is_a_problem_with_an_example(operations: Any) -> None:
    for method, path, op in operations:
        codes = {code for code in op["responses"] if code >= "400"}
        assert {"500", "503"} <= codes, (method, path)
        for code in codes:
            content = op["responses"][code]["content"]
            assert list(content) == [PROBLEM], (method, path, code)
            assert content[PROBLEM]["schema"] == {"$ref": "#/components/schemas/Problem"}
            for name, example in content[PROBLEM]["examples"].items():
                assert (example["value"]["code"], example["value"]["status"]) == (name, int(code))


def test_every_error_that_can_be_answered_is_described_somewhere(operations: Any) -> None:
    described = {
        name
        for _, _, op in operations
        for answer in op["responses"].values()
        for name in answer.get("content", {}).get(PROBLEM, {}).get("examples", {})
    }
    # Known only as what they are answered with when a server cannot start, or has no route.
    elsewhere = {"method_not_allowed", "schema_mismatch", "conflict", "corrupt_blob"}
    assert described == {kind.code for kind in kinds(TrainyardError)} - elsewhere


def kinds(kind: type[TrainyardError]) -> set[type[TrainyardError]]:
    below = {found for child in kind.__subclasses__() for found in kinds(child)}
    return {kind, *below} if not issubclass(kind, TrainingFailed) else set()


def test_every_body_is_described_and_has_examples(operations: Any) -> None:
    bodies = {path: op["requestBody"]["content"] for _, path, op in operations if "requestBody" in op}
    assert set(bodies) == {
        "/v1/datasets",
        "/v1/jobs",
        "/v1/jobs/{job_id}/extend",
        "/v1/networks/validate",
        "/v1/models",
        "/v1/models/{model_id}/predict",
        "/v1/models/{model_id}/predictions",
        "/v1/models/{model_id}/evaluate",
        "/v1/models/{model_id}/importance",
        "/v1/webhooks",
        "/v1/weights",
        "/v2/models/{model_id}/infer",
        "/v2/models/{model_id}/versions/{version}/infer",
    }
    assert set(bodies["/v1/weights"]) == {"application/octet-stream", "multipart/form-data"}
    assert set(bodies["/v1/datasets"]) >= {"text/csv", "multipart/form-data", "application/vnd.apache.parquet"}
    for path in set(bodies) - {"/v1/datasets", "/v1/weights", "/v1/models"}:
        assert bodies[path]["application/json"]["examples"]


def test_every_field_of_every_answer_is_explained(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in (
        "Job",
        "Dataset",
        "Model",
        "Weights",
        "Problem",
        "InvalidValue",
        "NetworkCheck",
        "Event",
        "Metric",
        "JobSpec",
        "EvaluateAnswer",
        "RiskCurve",
        "ImportanceAnswer",
        "ColumnImportance",
        "EvaluateRequest",
        *WEBHOOKS,
        "Alias",
        "InferRequest",
        "Prediction",
        "PredictionProgress",
        "PredictionError",
        "PredictionResult",
        "DatasetRequest",
        *CARD,
    ):
        for field, schema in schemas[name]["properties"].items():
            assert schema.get("description"), f"{name}.{field}"


def test_every_parameter_is_explained(operations: Any) -> None:
    for _, path, op in operations:
        for parameter in op.get("parameters", []):
            assert parameter.get("description"), (path, parameter["name"])


def test_the_language_is_there_with_every_layer(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for layer in Layer.members().values():
        assert layer.__name__ in schemas
    assert set(schemas["JobSpec"]["required"]) == {"network", "loss", "data"}


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    known = set(document["components"]["schemas"])
    assert set(references(document)) <= {f"#/components/schemas/{name}" for name in known}


def references(value: Any) -> Any:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


@pytest.mark.parametrize("name", examples.SPECS)
def test_examples_of_specifications_are_valid(name: str) -> None:
    parse_spec(json.dumps(examples.SPECS[name]).encode())


@pytest.mark.parametrize("name", examples.EVALUATIONS)
def test_examples_of_evaluations_are_valid(name: str) -> None:
    EvaluateRequest.model_validate(examples.EVALUATIONS[name])
    ImportanceRequest.model_validate(examples.IMPORTANCES["a data set"])


@pytest.mark.parametrize("name", examples.PREDICTIONS)
def test_examples_of_predictions_are_valid(name: str) -> None:
    PredictRequest.model_validate(examples.PREDICTIONS[name])


def test_the_example_without_data_can_be_sent(api: Any) -> None:
    answer = api.client.post("/v1/networks/validate", json=examples.CHECKS["without data"])
    assert answer.status_code == 200, answer.text


def test_the_documentation_is_served(api: Any) -> None:
    assert api.client.get("/openapi.json").json()["info"]["title"] == "Trainyard"
    assert "swagger" in api.client.get("/docs").text
