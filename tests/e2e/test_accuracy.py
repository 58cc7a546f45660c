"""The examples as a user runs them: upload, train, and predict rows that the server has never seen."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from service.client import Client, Json

EXAMPLES = Path(__file__).parents[2] / "examples"


def trained(client: Client, name: str, data: Path) -> str:
    """Train an example's specification on a file, and return the model's id."""
    spec = json.loads((EXAMPLES / f"{name}.json").read_text())
    spec["data"]["dataset"] = client.upload(data)["id"]
    job = client.wait(client.submit(spec).id)
    assert job.status == "succeeded", job.error
    assert job.model is not None
    return job.model


def held_out(tmp_path: Path, name: str, rows: int) -> tuple[Path, list[Json]]:
    """Write all but the last rows to a file; return it, and the rows that are left."""
    lines = (EXAMPLES / f"{name}.csv").read_text().splitlines(keepends=True)
    training = tmp_path / f"{name}.csv"
    training.write_text("".join(lines[:-rows]))
    return training, list(csv.DictReader(io.StringIO(lines[0] + "".join(lines[-rows:]))))


def numbers(row: Json) -> Json:
    return {name: float(value) for name, value in row.items()}


@pytest.mark.parametrize(("name", "target", "rows"), [("wine", "cultivar", 45), ("breast_cancer", "diagnosis", 150)])
def test_classes(client: Client, tmp_path: Path, name: str, target: str, rows: int) -> None:
    training, others = held_out(tmp_path, name, rows)
    model = trained(client, name, training)
    truth = [row.pop(target) for row in others]
    answer = client.predict(model, [numbers(row) for row in others], mc_samples=50, seed=1)
    right = [p["label"] == true for p, true in zip(answer["predictions"], truth, strict=True)]
    assert np.mean(right) >= 0.95
    doubt = np.array([p["mutual_information"] for p in answer["predictions"]])
    assert (doubt >= 0).all()
    assert doubt.max() > 3 * np.median(doubt)  # most are clear, some are not


def test_numbers_with_error_bars(client: Client, tmp_path: Path) -> None:
    training, others = held_out(tmp_path, "diabetes", 110)
    model = trained(client, "diabetes", training)
    rows = [numbers(row) for row in others]
    truth = np.array([row.pop("progression") for row in rows])
    predictions = client.predict(model, rows, mc_samples=100, seed=1)["predictions"]
    mean = np.array([p["mean"] for p in predictions])
    assert np.sqrt(np.mean((mean - truth) ** 2)) <= 60
    assert all(p["quantiles"]["0.05"] < p["quantiles"]["0.95"] for p in predictions)
    assert np.mean([p["quantiles"]["0.05"] < p["mean"] < p["quantiles"]["0.95"] for p in predictions]) > 0.95
    assert all(p["std"] > 0 for p in predictions)
    assert np.median([p["std"] for p in predictions]) < 77  # less than the target's own deviation


def test_images(client: Client, tmp_path: Path) -> None:
    with np.load(EXAMPLES / "digits.npz") as file:
        images, labels = file["x"], file["y"]
    training = tmp_path / "digits.npz"
    np.savez_compressed(training, x=images[:-400], y=labels[:-400])
    model = trained(client, "digits", training)
    rows = [[image] for image in images[-400:].tolist()]
    sure = client.predict(model, rows, mc_samples=0)["predictions"]
    assert np.mean([p["label"] == true for p, true in zip(sure, labels[-400:], strict=True)]) >= 0.97
    sampled = client.predict(model, rows, mc_samples=30, seed=1)["predictions"]
    assert np.mean([p["label"] == true for p, true in zip(sampled, labels[-400:], strict=True)]) >= 0.97
