"""Evaluation and importance on real rows, against scikit-learn and against predictions of the same rows."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import special, stats
from sklearn import metrics as sk

from service.data.formats import profile_file
from service.data.reader import Limits
from service.errors import InvalidDataset, InvalidInput, InvalidRows, TooLarge
from service.predict import labelled
from service.predict.evaluate import OWN_DATA, evaluate
from service.predict.evaluation_messages import EvaluateRequest, ImportanceRequest
from service.predict.importance import importance
from service.settings import Settings
from service.store import datasets
from service.store.blobs import write_blob
from service.store.engine import Store
from tests.service.predict.asking import SETTINGS, Load, ask, table

Put = Callable[..., str]


@pytest.fixture
def put(sqlite_store: Store, tmp_path: Path) -> Put:
    """Store a file as a data set, and return its id."""

    def put_now(content: bytes, kind: str = "csv") -> str:
        path = tmp_path / "upload"
        path.write_bytes(content)
        profile = profile_file(path, kind, Limits.of(Settings()))
        blob = write_blob(sqlite_store, [content])
        with sqlite_store.begin() as session:
            columns = [column.model_dump(mode="json") for column in profile.columns]
            row = datasets.insert(
                session, name="t", format=kind, sha256=blob.sha256, size=blob.size, rows=profile.rows, columns=columns
            )
            return row.id

    return put_now


def evaluated(model: Any, store: Store, settings: Settings = SETTINGS, **request: Any) -> dict[str, Any]:
    return evaluate(model, EvaluateRequest.model_validate(request), store, settings).model_dump(mode="json")


@pytest.mark.parametrize("batch", [7, 8192])
def test_classes_are_judged_like_predictions_of_the_same_rows(
    batch: int, loaded: Load, sure_wine: Any, wine_csv: bytes, put: Put, sqlite_store: Store, monkeypatch: Any
) -> None:
    monkeypatch.setattr(labelled, "MOST_ROWS", batch)
    model, (rows, truth) = loaded(sure_wine), table(wine_csv)
    found = evaluated(model, sqlite_store, dataset=put(wine_csv), mc_samples=20, seed=5, coverage=0.8)
    said = ask(model, rows, mc_samples=20, seed=5, coverage=0.8)["predictions"]
    p = np.array([list(one["probabilities"].values()) for one in said])
    assert (found["rows"], found["mc_samples"], found["seed"], found["calibrated"]) == (178, 20, 5, True)
    figures = found["metrics"]
    assert figures["accuracy"] == pytest.approx(np.mean([a["label"] == t for a, t in zip(said, truth, strict=True)]))
    assert figures["nll"] == pytest.approx(sk.log_loss(truth, p), rel=1e-5)
    inside = [t in a["set"] for a, t in zip(said, truth, strict=True)]
    assert figures["conformal"]["coverage"] == pytest.approx(np.mean(inside))
    assert figures["conformal"]["sharpness"] == pytest.approx(np.mean([len(a["set"]) for a in said]))
    wrong = np.array([a["label"] != t for a, t in zip(said, truth, strict=True)])
    order = np.argsort([a["predictive_entropy"] for a in said], kind="stable")
    area = np.mean(np.cumsum(wrong[order]) / np.arange(1, 179))
    assert found["risk_coverage"]["area"] == pytest.approx(area, abs=1e-3)
    assert found["risk_coverage"]["by"] == "predictive_entropy"
    assert sum(point["rows"] for point in found["reliability"]) == 178


def test_numbers_are_judged_in_their_own_units(
    loaded: Load, sure_diabetes: Any, diabetes_csv: bytes, put: Put, sqlite_store: Store
) -> None:
    model, (rows, targets) = loaded(sure_diabetes), table(diabetes_csv)
    truth = np.array(targets, float)
    found = evaluated(model, sqlite_store, dataset=put(diabetes_csv), mc_samples=30, by="epistemic_std")
    said = ask(model, rows, mc_samples=30, coverage=0.9, intervals=[0.9], return_samples=True)["predictions"]
    mean, std = (np.array([one[name] for one in said]) for name in ("mean", "std"))
    figures = found["metrics"]
    assert figures["rmse"] == pytest.approx(np.sqrt(np.mean((mean - truth) ** 2)), rel=1e-5)
    assert figures["r2"] == pytest.approx(sk.r2_score(truth, mean), rel=1e-4)
    samples, noise = np.array([one["samples"] for one in said]), np.array([one["aleatoric_std"] for one in said])
    densities = stats.norm.logpdf(truth[:, None], samples, noise[:, None])
    expected = np.log(samples.shape[1]) - special.logsumexp(densities, axis=1).mean()
    assert figures["nll"] == pytest.approx(expected, rel=1e-5)
    assert figures["sharpness"] == pytest.approx(std.mean(), rel=1e-5)
    low, high = np.array([one["intervals"]["0.9"] for one in said]).T
    assert figures["coverage"] == pytest.approx(np.mean((low <= truth) & (truth <= high)), abs=0.003)
    low, high = np.array([one["interval"] for one in said]).T
    assert figures["conformal"]["coverage"] == pytest.approx(np.mean((low <= truth) & (truth <= high)), abs=0.003)
    assert figures["conformal"]["sharpness"] == pytest.approx((high - low).mean(), rel=1e-5)
    assert found["risk_coverage"]["by"] == "epistemic_std"
    assert found["risk_coverage"]["points"][-1]["risk"] == pytest.approx(figures["rmse"] ** 2, rel=1e-5)


def test_labels_are_judged_too(loaded: Load, labelled: Any, put: Put, sqlite_store: Store) -> None:
    model = loaded(labelled)
    source = np.random.Generator(np.random.Philox(9))
    x = source.normal(size=(300, 2))
    y = (x + source.normal(size=x.shape) * 0.5 > 0).astype(int)
    lines = ["a,b,left,right", *(f"{a},{b},{p},{q}" for (a, b), (p, q) in zip(x, y, strict=True))]
    found = evaluated(model, sqlite_store, dataset=put("\n".join(lines).encode()), mc_samples=20)
    said = ask(model, x.tolist(), mc_samples=20)["predictions"]
    right = np.array([[name in one["labels"] for name in ("left", "right")] for one in said]) == y
    assert found["metrics"]["accuracy"] == pytest.approx(right.mean())
    assert found["metrics"]["conformal"]["coverage"] == pytest.approx(0.9, abs=0.08)
    assert found["metrics"]["coverage"] is None and 0 <= found["metrics"]["ece"] < 0.1
    assert found["risk_coverage"]["points"][-1]["risk"] == pytest.approx(1 - right.mean())


def test_rows_of_the_request_are_judged_like_a_data_set(
    loaded: Load, sure_wine: Any, wine_csv: bytes, put: Put, sqlite_store: Store
) -> None:
    model = loaded(sure_wine)
    stored = evaluated(model, sqlite_store, dataset=put(wine_csv), mc_samples=10)
    objects: list[Any] = list(csv.DictReader(io.StringIO(wine_csv.decode())))
    objects = [{k: v if k == "target" else float(v) for k, v in row.items()} for row in objects]
    for rows in (objects, [list(row.values()) for row in objects]):
        inline = evaluated(model, sqlite_store, rows=rows, mc_samples=10)
        assert inline | {"dataset": None} == stored | {"dataset": None}


def test_images_are_evaluated_from_the_store(
    loaded: Load, digits: Any, digits_npz: bytes, put: Put, sqlite_store: Store
) -> None:
    found = evaluated(loaded(digits), sqlite_store, dataset=put(digits_npz, "npz"), mc_samples=4)
    assert found["rows"] == 1797 and found["metrics"]["accuracy"] > 0.9
    assert not found["calibrated"] and found["metrics"]["conformal"] is None


def test_columns_may_stand_in_another_order_and_beside_others(
    loaded: Load, sure_wine: Any, wine_csv: bytes, put: Put, sqlite_store: Store
) -> None:
    frame = pl.read_csv(wine_csv)
    other = frame.select([pl.lit("x").alias("more"), *reversed(frame.columns)])
    buffer = io.BytesIO()
    other.write_parquet(buffer)
    model = loaded(sure_wine)
    first = evaluated(model, sqlite_store, dataset=put(wine_csv), mc_samples=5)
    second = evaluated(model, sqlite_store, dataset=put(buffer.getvalue(), "parquet"), mc_samples=5)
    assert first["metrics"] == second["metrics"]


def test_its_own_data_is_said_to_flatter(
    loaded: Load, sure_wine: Any, wine_csv: bytes, put: Put, sqlite_store: Store
) -> None:
    dataset = put(wine_csv)
    with sqlite_store.read() as session:
        sha256 = datasets.get(session, dataset).sha256
    own = type(sure_wine)({**sure_wine.row, "receipt": {"data_sha256": sha256}}, sure_wine.weights)
    assert evaluated(loaded(own), sqlite_store, dataset=dataset)["note"] == OWN_DATA
    assert evaluated(loaded(sure_wine), sqlite_store, dataset=dataset)["note"] is None


def changed(data: bytes, column: str, row: int, value: str) -> bytes:
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    rows[row][column] = value
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]).encode()


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("target", "class_9", "not one of its classes"),
        ("target", "", "missing"),
        ("hue", "", "row 11, column 'hue'"),
        ("hue", "blue", "not a number"),
    ],
)
def test_a_data_set_that_does_not_fit_is_refused_by_row_and_column(
    column: str, value: str, said: str, loaded: Load, wine: Any, wine_csv: bytes, put: Put, sqlite_store: Store,
    monkeypatch: Any,
) -> None:  # fmt: skip
    monkeypatch.setattr(labelled, "MOST_ROWS", 5)
    with pytest.raises((InvalidInput, InvalidDataset)) as caught:
        evaluated(loaded(wine), sqlite_store, dataset=put(changed(wine_csv, column, 11, value)))
    (problem,) = caught.value.problems
    assert said in problem.message
    assert problem.path == ("hue" if value == "blue" else "dataset")


def test_columns_that_are_missing_are_all_named(loaded: Load, wine: Any, put: Put, sqlite_store: Store) -> None:
    with pytest.raises(InvalidInput) as caught:
        evaluated(loaded(wine), sqlite_store, dataset=put(b"alcohol,hue\n1,2\n2,3\n"))
    assert {problem.path for problem in caught.value.problems} == {"dataset"}
    assert len(caught.value.problems) == 12 and "target" in {problem.got for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("row", "path"),
    [([1.0] * 13, "rows[0]"), ([1.0] * 13 + ["class_7"], "rows"), ([1.0] * 12 + ["x", "class_0"], "rows[0]")],
)
def test_rows_that_do_not_fit_are_refused_by_path(
    row: list[Any], path: str, loaded: Load, wine: Any, sqlite_store: Store
) -> None:
    with pytest.raises(InvalidRows) as caught:
        evaluated(loaded(wine), sqlite_store, rows=[row])
    assert caught.value.problems[0].path.startswith(path)


@pytest.mark.parametrize(
    ("request_body", "path"),
    [
        ({"dataset": "ds_" + "0" * 26}, "dataset"),
        ({"rows": [[1] * 13 + ["class_0"]], "by": "std"}, "by"),
        ({"rows": [[1] * 13 + ["class_0"]], "coverage": 0.9}, "coverage"),
        ({"rows": [[1] * 13 + ["class_0"]], "mc_samples": 200_000}, "mc_samples"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    request_body: dict[str, Any], path: str, loaded: Load, wine: Any, sqlite_store: Store
) -> None:
    with pytest.raises(InvalidInput) as caught:
        evaluated(loaded(wine), sqlite_store, **request_body)
    assert caught.value.problems[0].path == path


def test_limits_hold(loaded: Load, wine: Any, wine_csv: bytes, put: Put, sqlite_store: Store) -> None:
    model, dataset = loaded(wine), put(wine_csv)
    for limit in ({"max_evaluate_rows": 177}, {"max_evaluate_values": 178 * 10 * 3 - 1}):
        with pytest.raises(TooLarge):
            evaluated(model, sqlite_store, Settings(**limit), dataset=dataset, mc_samples=10)
    assert evaluated(model, sqlite_store, Settings(max_evaluate_values=178 * 10 * 3), dataset=dataset, mc_samples=10)
    with pytest.raises(TooLarge):
        importances(model, sqlite_store, Settings(max_evaluate_values=178 * 3 * 13 * 2), dataset=dataset, repeats=2)


@pytest.mark.parametrize("name", ["sure_wine", "sure_diabetes"])
def test_the_same_request_has_the_same_answer(
    name: str, request: Any, loaded: Load, wine_csv: bytes, diabetes_csv: bytes, put: Put, sqlite_store: Store
) -> None:
    model = loaded(request.getfixturevalue(name))
    dataset = put(wine_csv if name == "sure_wine" else diabetes_csv)
    asked = [evaluated(model, sqlite_store, dataset=dataset, seed=seed) for seed in (1, 1, 2)]
    assert asked[0] == asked[1] != asked[2]
    shuffled = [importances(model, sqlite_store, dataset=dataset, repeats=2, seed=seed) for seed in (1, 1, 2)]
    assert shuffled[0] == shuffled[1] != shuffled[2]


def importances(model: Any, store: Store, settings: Settings = SETTINGS, **request: Any) -> dict[str, Any]:
    return importance(model, ImportanceRequest.model_validate(request), store, settings).model_dump(mode="json")


@pytest.fixture
def leaning(train: Any, loaded: Load) -> Any:
    """A model of a number that follows from two columns, one ten times as much as the other, and not from a third."""
    x = np.random.Generator(np.random.Philox(3)).normal(size=(300, 3))
    return loaded(train(linear(x), "csv", {"network": {"layers": [{"type": "dense", "units": "auto"}]}, "loss": "mse"}))


def linear(x: Any) -> bytes:
    lines = ["much,none,little,target", *(f"{a},{b},{c},{a + 0.1 * c}" for a, b, c in x)]
    return "\n".join(lines).encode()


def test_what_a_model_leans_on_is_important(leaning: Any, put: Put, sqlite_store: Store) -> None:
    x = np.random.Generator(np.random.Philox(4)).normal(size=(400, 3))
    dataset = put(linear(x))
    found = importances(leaning, sqlite_store, dataset=dataset, repeats=10, metric="mse")
    kernel = next(leaning.monte_carlo.network.parameters()).detach().numpy()[0]
    # Shuffling x, which has weight w in the model and b in the truth, adds 2 w b var(x) to the squared error.
    for column, weight, true, values in zip(found["columns"], kernel, (1.0, 0.0, 0.1), x.T, strict=True):
        assert column["mean"] == pytest.approx(2 * weight * true * values.var(), rel=0.15, abs=0.05)
        assert column["std"] >= 0
    assert [column["column"] for column in found["columns"]] == ["much", "none", "little"]
    assert found["columns"][0]["mean"] > found["columns"][2]["mean"] > abs(found["columns"][1]["mean"])
    better = importances(leaning, sqlite_store, dataset=dataset, repeats=3, metric="r2")
    assert better["columns"][0]["mean"] > 0.5 and better["baseline"] > 0.7


def test_the_metric_is_the_specifications_first_unless_one_is_named(
    loaded: Load, wine: Any, wine_csv: bytes, put: Put, sqlite_store: Store
) -> None:
    model, dataset = loaded(wine), put(wine_csv)
    assert importances(model, sqlite_store, dataset=dataset, repeats=1)["metric"] == "accuracy"
    found = importances(model, sqlite_store, dataset=dataset, repeats=1, metric={"type": "top_k_accuracy", "k": 2})
    assert found["metric"] == "top_2_accuracy" and len(found["columns"]) == 13
    for metric in ("rmse", "confusion_matrix"):
        with pytest.raises(InvalidInput) as caught:
            importances(model, sqlite_store, dataset=dataset, metric=metric)
        (problem,) = caught.value.problems
        assert problem.path == "metric" and "accuracy" in problem.allowed


def test_images_are_shuffled_whole(loaded: Load, digits: Any, digits_npz: bytes, put: Put, sqlite_store: Store) -> None:
    found = importances(loaded(digits), sqlite_store, dataset=put(digits_npz, "npz"), repeats=1)
    (column,) = found["columns"]
    assert column["column"] == "image" and column["mean"] > 0.6


@pytest.mark.parametrize(("unknown", "refuses"), [("error", True), ("ignore", False)])
def test_a_category_that_was_never_seen_falls_where_the_specification_says(
    unknown: str, refuses: bool, train: Any, loaded: Load, put: Put, sqlite_store: Store
) -> None:
    lines = ["c,n,target", *(f"{'abc'[i % 3] if i else 'rare'},{i % 5},{'yn'[i % 2]}" for i in range(60))]
    step = {"type": "one_hot", "unknown": unknown, "min_frequency": 2}
    body = {"network": {"layers": [{"type": "dense", "units": "auto"}]}, "loss": "cross_entropy",
            "data": {"preprocessing": [step]}}  # fmt: skip
    model = loaded(train("\n".join(lines).encode(), "csv", body))
    dataset = put(b"c,n,target\na,1,y\nnever,2,n\n")
    if refuses:
        with pytest.raises(InvalidRows) as caught:
            ask(model, [["a", 1], ["never", 1]])
        assert caught.value.problems[0].path == "rows[1].c"
        with pytest.raises(InvalidInput) as caught:
            evaluated(model, sqlite_store, dataset=dataset)
        assert "row 1, column 'c'" in caught.value.problems[0].message
        return
    never, rare, _ = ask(model, [["never", 1], ["rare", 1], ["a", 1]])["predictions"]
    assert never == rare
    assert evaluated(model, sqlite_store, dataset=dataset)["rows"] == 2
