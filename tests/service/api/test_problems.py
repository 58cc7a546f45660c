import json
import math

import httpx
import pytest

from service.api.problems import MAX_PROBLEMS, document, parameter_error, render, shown
from service.errors import InvalidSpec, NotFound, Problem, TooLarge, TrainyardError, Unavailable

UNKNOWN = "job_" + "0" * 26


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (10**40, "a number of more than 64 bits"),
        (1.5, 1.5),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (b"abc", "3 bytes"),
        ("x" * 600, "x" * 500 + "..."),
        ({1: [1, (2, 3)]}, {"1": [1, [2, 3]]}),
        ([[[[[1]]]]], [[[["..."]]]]),
        (list(range(50)), list(range(20))),
    ],
)
def test_a_value_is_shown_as_json_that_is_safe_to_send_back(value: object, expected: object) -> None:
    assert shown(value) == expected


def test_a_document_has_the_members_of_the_rfc_and_ours() -> None:
    error = InvalidSpec([Problem("network.layers[0].units", "must be at least 1", 0, {"ge": 1})])
    assert document(error, "/v1/jobs") == {
        "type": "urn:trainyard:problem:invalid_spec",
        "title": "The job specification is not valid.",
        "status": 422,
        "detail": "network.layers[0].units: must be at least 1",
        "code": "invalid_spec",
        "instance": "/v1/jobs",
        "errors": [
            {"path": "network.layers[0].units", "message": "must be at least 1", "got": 0, "allowed": {"ge": 1}}
        ],
    }


def test_lone_surrogates_and_long_lists_of_problems_can_be_sent() -> None:
    error = InvalidSpec([Problem("a\ud800", "no \udfff", "\ud800", ["b"])] * 200)
    answer = render(error, "/v1/\ud800")
    assert len(json.loads(answer.body)["errors"]) == MAX_PROBLEMS


def test_choices_are_never_cut() -> None:
    names = [f"column {i}" for i in range(300)]
    document_ = document(InvalidSpec([Problem("data.target", "unknown", "x", names)]), "/")
    assert document_["errors"][0]["allowed"] == names


def test_a_refused_body_closes_the_connection_and_a_pause_says_how_long() -> None:
    assert render(TooLarge(), "/").headers["connection"] == "close"
    assert render(Unavailable(), "/").headers["retry-after"] == "2"


def test_an_impossible_id_is_an_unknown_id() -> None:
    error = parameter_error([{"loc": ("path", "job_id"), "input": "x", "type": "string_pattern_mismatch", "msg": ""}])
    assert isinstance(error, NotFound)


def test_the_title_of_an_error_is_the_sentence_on_its_class() -> None:
    assert document(TrainyardError("what happened"), "/")["title"] == "Something went wrong inside the service."


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", f"/v1/jobs/{UNKNOWN}", 404, "not_found"),
        ("GET", "/v1/jobs/1", 404, "not_found"),
        ("GET", "/v1/jobs/..%2F..%2Fetc", 404, "not_found"),
        ("GET", "/v1/jobs/job_%00", 404, "not_found"),
        ("DELETE", f"/v1/jobs/{UNKNOWN}", 404, "not_found"),
        ("POST", f"/v1/jobs/{UNKNOWN}/cancel", 404, "not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        ("TRACE", "/v1/jobs", 405, "method_not_allowed"),
        ("PATCH", f"/v1/jobs/{UNKNOWN}", 405, "method_not_allowed"),
        ("GET", "/v1/jobs?limit=0", 422, "invalid_input"),
        ("GET", "/v1/jobs?limit=1e9", 422, "invalid_input"),
        ("GET", "/v1/jobs?limit=99999999999999999999999", 422, "invalid_input"),
        ("GET", "/v1/jobs?after=x", 422, "invalid_input"),
        ("GET", "/v1/jobs?after=mdl_00000000000000000000000000", 422, "invalid_input"),
        ("GET", "/v1/jobs?status=done", 422, "invalid_input"),
        ("GET", "/v1/jobs?lmit=5", 422, "invalid_input"),
        ("GET", "/healthz?x=1", 422, "invalid_input"),
        ("GET", f"/v1/jobs/{UNKNOWN}/metrics?since=-1", 422, "invalid_input"),
        ("GET", f"/v1/jobs/{UNKNOWN}/metrics?since=99999999999999999999", 422, "invalid_input"),
        ("GET", f"/v1/jobs/{UNKNOWN}/metrics?name=%00", 422, "invalid_input"),
        ("GET", f"/v1/jobs/{UNKNOWN}/events?after=9223372036854775808", 422, "invalid_input"),
        ("POST", "/v1/datasets?name=a%00b", 422, "invalid_input"),
    ],
)
def test_nonsense_is_answered_with_a_problem(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"].endswith(code)
    assert problem["detail"]


def test_a_wrong_method_is_told_the_right_ones(client: httpx.Client) -> None:
    assert client.put("/v1/jobs").headers["allow"] == "GET, HEAD, POST"
    assert client.put(f"/v1/jobs/{UNKNOWN}").headers["allow"] == "GET, HEAD, DELETE"


def test_a_misspelt_query_parameter_is_told_the_right_one(client: httpx.Client) -> None:
    (problem,) = client.get("/v1/jobs?lmit=5").json()["errors"]
    assert problem["path"] == "lmit"
    assert "'limit'" in problem["message"]
    assert problem["allowed"] == ["limit", "after", "status", "submitter"]


def test_bounds_are_told(client: httpx.Client) -> None:
    (problem,) = client.get("/v1/jobs?limit=0").json()["errors"]
    assert problem == {
        "path": "limit",
        "message": "must be greater than or equal to 1",
        "got": "0",
        "allowed": {"ge": 1},
    }
