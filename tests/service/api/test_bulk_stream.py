"""Files of rows to predictions over real HTTP: the same answers as for rows in JSON, and every way to go wrong."""

import csv
import io
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from service.cli import main
from service.settings import Settings

PARQUET, CSV, LINES = "application/vnd.apache.parquet", "text/csv", "application/x-ndjson"
ROWS = 3_000
PLACES = {"setosa": 0, "versicolor": 1, "virginica": 2}


@pytest.fixture(scope="module")
def model(sqlite_api: Any, iris_csv: bytes) -> str:
    """A classification of flowers, with dropout."""
    return trained(sqlite_api, iris_csv)


@pytest.fixture(scope="module")
def raw(sqlite_api: Any, iris_csv: bytes) -> str:
    """A wide network of numbers as they come: of those near the largest that float32 has, it makes none that it has."""
    layers = [
        {"type": "dense", "units": 64, "activation": "relu"},
        {"type": "dropout", "rate": 0.2},
        {"type": "dense", "units": "auto"},
    ]
    return trained(sqlite_api, iris_csv, {"preprocessing": []}, network={"layers": layers})


def trained(api: Any, content: bytes, data: Any = None, **more: Any) -> str:
    spec = api.spec(api.upload(content)["id"], **more)
    job = api.submit({**spec, "data": {**spec["data"], **(data or {})}})["id"]
    api.work(only=job)
    found = api.client.get(f"/v1/jobs/{job}").json()
    assert found["status"] == "succeeded", found
    return str(found["model"])


@pytest.fixture(scope="module")
def flowers(iris_csv: bytes) -> pl.DataFrame:
    """The flowers again and again, each a little different, with a target and a column that the model does not know."""
    table = pl.read_csv(iris_csv)
    table = pl.concat([table] * (ROWS // len(table)))
    noise = np.random.Generator(np.random.Philox(1)).normal(size=(len(table), 4)) / 10
    columns = [pl.Series(name, table[name] + noise[:, at]) for at, name in enumerate(table.columns[:4])]
    return pl.DataFrame([pl.Series("id", [f"r{i}" for i in range(len(table))]), *columns, table["target"]])


def as_bytes(table: pl.DataFrame, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    if kind == PARQUET:
        table.write_parquet(file, **options)
    elif kind == CSV:
        table.write_csv(file)
    else:
        table.write_ndjson(file)
    return file.getvalue()


def send(api: Any, model: str, data: Any, kind: str, accept: str = LINES, **query: Any) -> httpx.Response:
    headers = {"Content-Type": kind, "Accept": accept}
    answer: httpx.Response = api.client.post(f"/v1/models/{model}/predict", content=data, headers=headers, params=query)
    return answer


def lines(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text[:500]
    return [json.loads(line) for line in answer.text.splitlines()]


def inline(api: Any, model: str, table: pl.DataFrame, **options: Any) -> list[Any]:
    rows = table.drop("id", "target", strict=False).to_dicts()
    answer = api.client.post(f"/v1/models/{model}/predict", json={"rows": rows, **options})
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["predictions"]
    return found


def close(found: list[Any], expected: list[Any]) -> None:
    """Assert that predictions are the same to the rounding of float32."""
    assert len(found) == len(expected)
    assert [list(one) for one in found] == [list(one) for one in expected]
    assert [one.get("label") for one in found] == [one.get("label") for one in expected]
    assert np.array([flat(one) for one in found]) == pytest.approx(
        np.array([flat(one) for one in expected]), rel=1e-4, abs=1e-5
    )


def flat(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for inner in value for number in flat(inner)]
    return [] if isinstance(value, str | bool) or value is None else [value]


@pytest.mark.parametrize("kind", [PARQUET, CSV, LINES])
def test_a_file_is_answered_as_its_rows_in_json_are(api: Any, model: str, flowers: pl.DataFrame, kind: str) -> None:
    answer = send(api, model, as_bytes(flowers, kind), kind, mc_samples=20, seed=3)
    assert answer.headers["content-type"] == LINES
    assert json.loads(answer.headers["x-trainyard-prediction"]) == {
        "mc_samples": 20, "members": 1, "seed": 3, "stochastic_layers": ["dropout_1"], "calibrated": True, "note": None,
    }  # fmt: skip
    close(lines(answer), inline(api, model, flowers, mc_samples=20, seed=3))


@pytest.mark.parametrize("groups", [7, 1_000, ROWS])
def test_it_is_all_the_same_how_the_file_is_cut(api: Any, model: str, flowers: pl.DataFrame, groups: int) -> None:
    whole = lines(send(api, model, as_bytes(flowers, CSV), CSV, seed=1))
    close(lines(send(api, model, as_bytes(flowers, PARQUET, row_group_size=groups), PARQUET, seed=1)), whole)


def test_the_answer_comes_in_the_form_that_is_accepted(api: Any, model: str, flowers: pl.DataFrame) -> None:
    data = as_bytes(flowers, PARQUET)
    expected = lines(send(api, model, data, PARQUET))
    answer = send(api, model, data, PARQUET, PARQUET)
    assert answer.headers["content-type"] == PARQUET
    assert pl.read_parquet(answer.content).to_dicts() == expected
    about = json.loads(pl.read_parquet_metadata(io.BytesIO(answer.content))["trainyard"])
    assert about["stochastic_layers"] == ["dropout_1"]
    answer = send(api, model, data, PARQUET, "text/html, text/csv;q=0.5, application/x-ndjson;q=0.1")
    assert answer.headers["content-type"].startswith(CSV)
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(table[0])[:4] == ["label", *(f"probabilities.{name}" for name in PLACES)]
    assert [float(row["probabilities_std.virginica"]) for row in table] == [
        one["probabilities_std"]["virginica"] for one in expected
    ]


OPTIONS = {"mc_samples": 30, "seed": 9, "return_samples": True, "adaptive": {"tolerance": 0.05}}
REGRESSION = {"quantiles": [0.1, 0.5], "intervals": [0.9], "abstain": {"above": {"std": 30.0}}, "noise_precision": 0.01}


def test_every_option_is_that_of_a_request_in_json(api: Any, diabetes_csv: bytes) -> None:
    model = trained(api, diabetes_csv, {"target_preprocessing": "standardize"}, loss="mse", metrics=["mae"])
    table = pl.read_csv(diabetes_csv).head(60)
    options: dict[str, Any] = {**OPTIONS, **REGRESSION}
    query = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in options.items()}
    query |= {"quantiles": "0.1,0.5", "intervals": "[0.9]"}
    body = as_bytes(table, PARQUET)
    found = lines(send(api, model, body, PARQUET, **query))
    close(found, inline(api, model, table, **options))
    assert {one["abstained"] for one in found} <= {True, False} and found[0]["intervals"].keys() == {"0.9"}
    stored = pl.read_parquet(send(api, model, body, PARQUET, PARQUET, **query).content)
    assert stored.to_dicts() == found
    none = lines(send(api, model, body, PARQUET, quantiles=""))
    assert none[0]["quantiles"] == {}
    assert "quantiles" not in pl.read_parquet(send(api, model, body, PARQUET, PARQUET, quantiles="").content).columns


def test_a_form_and_arrays_a_line_are_taken(api: Any, model: str, flowers: pl.DataFrame) -> None:
    expected = inline(api, model, flowers.head(5))
    file = ("rows.csv", as_bytes(flowers.head(5), CSV), "application/octet-stream")
    close(lines(api.client.post(f"/v1/models/{model}/predict", files={"file": file})), expected)
    rows = flowers.head(5).drop("id", "target").rows()
    text = "\n\n".join(json.dumps(row) for row in rows)
    close(lines(send(api, model, b"\xef\xbb\xbf" + text.encode(), LINES)), expected)


def rows_with(flowers: pl.DataFrame, row: int, column: str, value: Any) -> pl.DataFrame:
    cells = flowers[column].to_list()
    cells[row] = value
    return flowers.with_columns(pl.Series(column, cells, strict=False))


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (PARQUET, None, "is missing"),
        (CSV, None, "is missing"),
        (LINES, None, "is missing"),
        (PARQUET, float("inf"), "must be a finite number"),
        (CSV, float("inf"), "must be a finite number"),
        (PARQUET, 1e300, "must be a finite number in float32"),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_row_and_column_before_anything_is_answered(
    api: Any, model: str, flowers: pl.DataFrame, kind: str, value: Any, message: str
) -> None:
    table = rows_with(flowers, 2_345, "petal width (cm)", value)
    answer = send(api, model, as_bytes(table, kind), kind)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_rows")
    (problem,) = answer.json()["errors"]
    assert problem["path"] == "rows[2345].petal width (cm)" and message in problem["message"]


@pytest.mark.parametrize(
    ("kind", "body", "path", "message"),
    [
        (CSV, "sepal length (cm),x\n1,2\n", "sepal width (cm)", "no column"),
        (CSV, "", "", "empty"),
        (CSV, "a,b\n1\n", "", "fields"),
        (LINES, '{"sepal length (cm)": 1}\n', "rows[0].sepal width (cm)", "is missing"),
        (LINES, "[1, 2, 3, 4]\n\n[1, 2, 3]\n", "rows[1]", "3 values"),
        (LINES, "[1, 2, 3, 4]\n\n[1, 2, oops]\n", "rows[1]", "line 3 is not JSON"),
        (LINES, "[1, 2, 3, true]\n", "rows[0].petal width (cm)", "must be a finite number"),
        (LINES, "\n\n", "rows", "at least one row"),
        (PARQUET, "no parquet at all", "", "not Parquet"),
        (PARQUET, "", "", "not Parquet"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    api: Any, model: str, kind: str, body: str, path: str, message: str
) -> None:
    answer = send(api, model, body.encode(), kind)
    assert answer.status_code == 422, answer.text
    problems = answer.json()["errors"]
    assert problems[0]["path"] == path and message in problems[0]["message"], problems


def test_words_among_numbers_and_columns_of_another_type_are_named(api: Any, model: str, flowers: pl.DataFrame) -> None:
    words = flowers.with_columns(pl.col("sepal length (cm)").cast(pl.String))
    answer = send(api, model, as_bytes(rows_with(words, 1_500, "sepal length (cm)", "long"), CSV), CSV)
    (problem,) = answer.json()["errors"]
    assert (problem["path"], problem["got"]) == ("rows[1500].sepal length (cm)", "long")
    answer = send(api, model, as_bytes(words, PARQUET), PARQUET)
    (problem,) = answer.json()["errors"]
    assert problem["path"] == "sepal length (cm)" and "holds String" in problem["message"]


def test_categories_that_the_model_does_not_know_are_named(api: Any) -> None:
    words = ["red", "green", "blue"]
    data = "colour,size,target\n" + "".join(f"{words[i % 3]},{i % 7},{'ab'[i % 2]}\n" for i in range(60))
    model = trained(api, data.encode(), {"preprocessing": ["one_hot", "standardize"]})
    rows = [{"colour": words[i % 3], "size": i % 7} for i in range(2_000)]
    close(lines(send(api, model, as_bytes(pl.DataFrame(rows), CSV), CSV)), inline(api, model, pl.DataFrame(rows)))
    rows[1_999] = {"colour": "pink", "size": 1}
    for kind in (CSV, PARQUET, LINES):
        answer = send(api, model, as_bytes(pl.DataFrame(rows), kind), kind)
        (problem,) = answer.json()["errors"]
        assert (problem["path"], problem["got"]) == ("rows[1999].colour", "pink")


def far_off(flowers: pl.DataFrame) -> pl.DataFrame:
    """Row 2,900 has values that float32 can hold, but not what the network makes of them."""
    for column in flowers.columns[1:5]:
        flowers = rows_with(flowers, 2_900, column, 3.3e38)
    return flowers


@pytest.mark.parametrize("accept", [LINES, CSV])
def test_what_goes_wrong_in_the_middle_ends_the_answer_with_a_problem(
    api: Any, raw: str, flowers: pl.DataFrame, accept: str
) -> None:
    table = far_off(flowers)
    answer = send(api, raw, as_bytes(table, PARQUET), PARQUET, accept)
    assert answer.status_code == 200
    *most, last = answer.text.splitlines()
    assert 1_000 < len(most) < 2_900 + (accept == CSV)
    problem = json.loads(last)
    assert (problem["status"], problem["code"]) == (422, "invalid_rows")
    assert problem["errors"][0]["path"] == "rows[2900]" and "not a finite number" in problem["errors"][0]["message"]


def test_parquet_that_cannot_be_finished_has_no_footer(api: Any, raw: str, flowers: pl.DataFrame) -> None:
    table = far_off(flowers)
    with pytest.raises(httpx.RemoteProtocolError):
        send(api, raw, as_bytes(table, PARQUET), PARQUET, PARQUET)


def test_what_is_asked_wrongly_is_refused(api: Any, model: str, flowers: pl.DataFrame) -> None:
    data = as_bytes(flowers.head(3), CSV)
    for query, path in (
        ({"mc_samples": "-1"}, "mc_samples"),
        ({"quantiles": "0.5,2"}, "quantiles[1]"),
        ({"quantile": "0.5"}, "quantile"),
        ({"adaptive": '{"tolerance": 0}'}, "adaptive.tolerance"),
        ({"abstain": "x"}, "abstain"),
        ({"intervals": "0.9"}, "intervals"),
    ):
        answer = send(api, model, data, CSV, **query)
        assert answer.status_code == 422, (query, answer.text)
        assert answer.json()["errors"][0]["path"] == path
    answer = send(api, model, data, CSV, "application/json")
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    answer = send(api, "mdl_" + "0" * 26, data, CSV)
    assert answer.status_code == 404
    answer = api.client.post(f"/v1/models/{model}/predict?seed=1", json={"rows": [[1, 2, 3, 4]]})
    assert answer.status_code == 422 and answer.json()["errors"][0]["path"] == "seed"
    file = {"file": ("a.npz", b"PK\x03\x04" + b"\0" * 60, "application/x-npz")}
    assert api.client.post(f"/v1/models/{model}/predict", files=file).status_code == 415
    answer = api.client.post(
        f"/v1/models/{model}/predict", content=b"x", headers={"Content-Type": CSV, "Content-Encoding": "gzip"}
    )
    assert answer.status_code == 415


@pytest.fixture
def narrow(settings: Settings, serving: Any) -> Iterator[Any]:
    """A server that takes one small file at a time, and waits a second for its bytes."""
    changes = {
        "max_streams": 1,
        "max_stream_bytes": 1_000_000,
        "max_stream_values": 100_000,
        "stream_stall_seconds": 1.0,
    }
    with serving(settings.model_copy(update=changes)) as api:
        yield api


def left(api: Any) -> list[Any]:
    """What lies in the folder of files that arrive."""
    return list((api.settings.home / "uploads").iterdir())


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_limits_and_places(narrow: Any, iris_csv: bytes) -> None:
    model = trained(narrow, iris_csv)
    header = iris_csv.splitlines(keepends=True)[0]
    row = b"5.1,3.5,1.4,0.2,setosa\n"
    answer = send(narrow, model, header + row * 100_000, CSV)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    answer = send(narrow, model, (header + row * 10 for _ in range(10_000)), CSV)
    assert answer.status_code == 413
    answer = send(narrow, model, header + row * 1_000, CSV, mc_samples=50)
    assert answer.status_code == 413 and "1,000 rows x 50 samples x 3 outputs" in answer.json()["detail"]
    with connected(narrow) as slow:
        slow.sendall(head(model, 10_000) + header)
        assert eventually(lambda: bool(left(narrow)))
        answer = send(narrow, model, header + row, CSV)
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) > 0
        rows = narrow.client.post(f"/v1/models/{model}/predict", json={"rows": [[5, 3, 1, 0]]})
        assert rows.status_code == 200
        said = slow.recv(65_536)
        assert said.startswith(b"HTTP/1.1 400") and b"No more of the file came for 1 s" in said
    assert eventually(lambda: not left(narrow))
    assert send(narrow, model, header + row, CSV).status_code == 200


def connected(api: Any) -> socket.socket:
    url = api.client.base_url
    return socket.create_connection((url.host, url.port), timeout=30)


def head(model: str, size: int) -> bytes:
    return (
        f"POST /v1/models/{model}/predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
        f"Content-Length: {size}\r\n\r\n"
    ).encode()


def test_a_client_that_leaves_or_stops_to_read_is_not_worked_for(narrow: Any, iris_csv: bytes) -> None:
    model = trained(narrow, iris_csv)
    body = iris_csv.splitlines(keepends=True)[0] + b"5.1,3.5,1.4,0.2,setosa\n" * 30_000
    for leave in (True, False):
        with connected(narrow) as client:
            client.sendall(head(model, len(body)).replace(b"predict", b"predict?mc_samples=1") + body)
            assert client.recv(1_000).startswith(b"HTTP/1.1 200")
            if leave:
                client.close()
            assert eventually(lambda: not left(narrow))  # long before all has been read
        answer = send(narrow, model, body[:1_000].rpartition(b"\n")[0], CSV)
        assert answer.status_code == 200


def test_the_command_streams_files(
    api: Any,
    model: str,
    iris_csv: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    table = pl.read_csv(iris_csv)
    table.write_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_bytes(iris_csv)
    monkeypatch.setenv("TRAINYARD_URL", str(api.client.base_url))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, bytes, bytes]:
        monkeypatch.setattr(sys, "argv", ["trainyard", "predict", model, *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsysbinary.readouterr()
        return int(end.value.code or 0), said.out, said.err

    code, lines, _ = run("rows.parquet", "--mc-samples", "5", "--seed", "2")
    assert code == 0
    found = [json.loads(line) for line in lines.splitlines()]
    for source, out in (("rows.csv", "out.ndjson"), ("rows.parquet", "out.parquet"), ("rows.csv", "out.csv")):
        code, said, error = run(source, "-o", out, "--mc-samples", "5", "--seed", "2")
        assert (code, error) == (0, b""), error
        assert said.startswith(f"{out}: ".encode())
    assert [json.loads(line)["label"] for line in Path("out.ndjson").read_text().splitlines()] == [
        one["label"] for one in found
    ]
    assert pl.read_parquet("out.parquet").to_dicts() == found
    assert pl.read_csv("out.csv")["label"].to_list() == [one["label"] for one in found]
    table.drop("sepal length (cm)").write_parquet("less.parquet")
    code, _, error = run("less.parquet", "-o", "x.csv")
    assert code == 1 and b"sepal length (cm): the file has no column" in error
    assert not Path("x.csv").exists()
