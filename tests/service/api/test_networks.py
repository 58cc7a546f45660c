from typing import Any

import pytest

URL = "/v1/networks/validate"
NETWORK = {
    "layers": ["flatten", {"type": "dense", "units": 4, "activation": "relu"}, {"type": "dense", "units": "auto"}]
}


def test_a_specification_is_looked_at_without_doing_it(both: Any, iris_csv: bytes) -> None:
    spec = both.spec(both.upload(iris_csv)["id"])
    before = both.client.get("/v1/jobs").json()
    answer = both.client.post(URL, json={"spec": spec})
    assert answer.status_code == 200, answer.text
    check = answer.json()
    assert (check["valid"], check["input_shape"], check["outputs"]) == (True, [4], 3)
    assert [(layer["path"], layer["output_shape"]) for layer in check["layers"]] == [
        ("network.layers[0]", [8]),
        ("network.layers[1]", [8]),
        ("network.layers[2]", [3]),
    ]
    assert check["parameters"] == 4 * 8 + 8 + 8 * 3 + 3
    assert check["multiply_adds"] == 4 * 8 + 8 * 3
    assert check["memory"]["weights_bytes"] == 4 * check["parameters"]
    memory = check["memory"]
    assert memory["data_bytes"] == 150 * (2 * (4 * 4 + 8) + 28) and memory["disk_bytes"] == 0
    assert memory["training_bytes"] > 32 * memory["training_bytes_per_row"] > 32 * memory["activation_bytes_per_row"]
    assert memory["training_bytes"] < memory["limit_bytes"]
    assert len(check["stochastic_layers"]) == 1
    assert both.client.get("/v1/jobs").json() == before
    assert check["spec_sha256"] == both.submit(spec)["spec_sha256"]


def test_a_specification_may_stand_alone(api: Any, iris_csv: bytes) -> None:
    spec = api.spec(api.upload(iris_csv)["id"])
    assert api.client.post(URL, json=spec).json() == api.client.post(URL, json={"spec": spec}).json()


@pytest.mark.parametrize("data", [{}, {"data": {"target": "y"}}, {"data": {"preprocessing": "standardize"}}])
def test_without_a_data_set_shapes_are_given(api: Any, data: dict[str, Any]) -> None:
    body = {"spec": {"network": NETWORK, "loss": "cross_entropy", **data}, "input_shape": [1, 8, 8], "outputs": 10}
    check = api.client.post(URL, json=body).json()
    assert (check["input_shape"], check["outputs"], check["spec_sha256"]) == ([1, 8, 8], 10, None)
    assert check["layers"][-1]["output_shape"] == [10]


def test_advice_has_a_code_a_path_a_reason_a_source_and_a_mend(api: Any) -> None:
    layers = [
        {"type": "dense", "units": 4, "activation": "selu", "initializer": "he_normal"},
        {"type": "dense", "units": "auto"},
    ]
    body = {"spec": {"network": {"layers": layers}, "loss": "mse"}, "input_shape": [4], "outputs": 1}
    check = api.client.post(URL, json=body).json()
    assert check["valid"] is True
    assert any(advice["path"].startswith("network.layers[0]") for advice in check["advice"])
    assert all(set(advice) == {"code", "path", "reason", "source", "mend"} for advice in check["advice"])


def test_advice_knows_the_columns_of_a_data_set_and_the_layers_inside_of_others(both: Any, iris_csv: bytes) -> None:
    head, *lines = iris_csv.decode().splitlines()
    same = "\n".join([f"{head},same", *(f"{line},1" for line in lines)]).encode()
    spec = both.spec(both.upload(same)["id"])
    dense = {"type": "dense", "units": 5, "activation": "relu", "initializer": "zeros"}
    spec["network"]["layers"].insert(0, {"type": "residual", "layers": [dense, {**dense, "initializer": None}]})
    advice = {item["code"]: item for item in both.client.post(URL, json=spec).json()["advice"]}
    assert advice["symmetric_initializer"]["path"] == "network.layers[0].layers[0].initializer"
    assert "'same'" in advice["constant_feature"]["reason"]
    assert "Kuhn and Johnson" in advice["constant_feature"]["source"]


@pytest.mark.parametrize(
    ("body", "code", "paths"),
    [
        ({}, "invalid_input", ["spec"]),
        ([], "invalid_input", [""]),
        ({"spec": 1}, "invalid_input", ["spec"]),
        ({"spec": {"network": NETWORK, "loss": "mse"}}, "invalid_input", ["input_shape", "outputs"]),
        ({"spec": {"network": NETWORK, "loss": "mse"}, "input_shape": []}, "invalid_input", ["input_shape"]),
        ({"spec": {"network": NETWORK, "loss": "mse"}, "input_shape": [0]}, "invalid_input", ["input_shape[0]"]),
        ({"spec": {"network": NETWORK, "loss": "mse"}, "outputs": 2**40}, "invalid_input", ["outputs"]),
        ({"spec": {"loss": "huh", "nmae": 1}, "outputs": 1}, "invalid_spec", ["network", "loss", "nmae"]),
        ({"network": NETWORK, "loss": "mse", "data": 3}, "invalid_spec", ["data"]),
        (
            {"network": {"layers": ["flatten", {"type": "conv2d", "filters": 2, "kernel_size": 3}]}, "loss": "mse"}
            | {"input_shape": [4], "outputs": 1},
            "invalid_spec",
            ["network.layers[1]"],
        ),
    ],
)
def test_what_is_not_valid_is_answered_with_problems(api: Any, body: Any, code: str, paths: list[str]) -> None:
    answer = api.client.post(URL, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert [problem["path"] for problem in answer.json()["errors"]] == paths


def test_augmentation_that_rows_cannot_take_is_named_beside_the_layers(api: Any, iris_csv: bytes) -> None:
    spec = api.spec(api.upload(iris_csv)["id"])
    spec["data"]["augmentation"] = [{"type": "random_noise", "std": 0.1}, "random_flip"]
    spec["regularization"] = {"mixing": "cutmix"}
    spec["network"] = {"layers": [{"type": "conv2d", "filters": 2, "kernel_size": 3}, *NETWORK["layers"]]}
    for answer in (api.client.post(URL, json=spec), api.client.post("/v1/jobs", json=spec)):
        assert answer.status_code == 422, answer.text
        paths = [problem["path"] for problem in answer.json()["errors"]]
        assert paths == ["data.augmentation[1]", "regularization.mixing", "network.layers[0]"]
    del spec["data"]["augmentation"][1], spec["network"]["layers"][0]
    spec["regularization"] = {"mixing": "mixup"}
    assert api.client.post(URL, json=spec).status_code == 200


def test_shapes_beside_a_data_set_are_refused(api: Any, iris_csv: bytes) -> None:
    spec = api.spec(api.upload(iris_csv)["id"])
    answer = api.client.post(URL, json={"spec": spec, "outputs": 3})
    assert [problem["path"] for problem in answer.json()["errors"]] == ["outputs"]


def test_huge_shapes_cost_nothing(api: Any) -> None:
    body = {"spec": {"network": NETWORK, "loss": "mse"}, "input_shape": [2**31] * 8, "outputs": 2**31}
    assert api.client.post(URL, json=body).status_code == 422


def test_blocks_are_listed_with_their_schemas(api: Any) -> None:
    blocks = api.client.get("/v1/blocks").json()
    assert (blocks["object"], blocks["has_more"]) == ("list", False)
    by_name = {(block["family"], block["type"]): block for block in blocks["data"]}
    dense = by_name["layer", "dense"]
    assert (dense["object"], dense["bare"]) == ("block", False)
    assert dense["schema"]["properties"]["type"]["const"] == "dense"
    assert by_name["activation", "relu"]["bare"] is True
    losses = api.client.get("/v1/blocks?family=loss").json()["data"]
    assert {block["family"] for block in losses} == {"loss"}
    assert len(losses) == sum(family == "loss" for family, _ in by_name)


def test_an_unknown_family_is_told_the_known_ones(api: Any) -> None:
    answer = api.client.get("/v1/blocks?family=losses")
    assert answer.status_code == 422
    assert "loss" in answer.json()["errors"][0]["allowed"]
