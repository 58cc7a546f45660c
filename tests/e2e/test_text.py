"""Text through HTTP: a column of sentences is uploaded, learned from and asked about."""

import csv
import io
from pathlib import Path

import numpy as np

from service.client import Client

GOOD, BAD = ("fine", "lovely", "great", "charming"), ("awful", "dull", "poor", "boring")


def reviews(rows: int, seed: int) -> list[tuple[str, str]]:
    """Sentences whose one word of praise or blame is denied in every third: a bag of words does not tell."""
    draw, found = np.random.default_rng(seed), []
    for _ in range(rows):
        good, denied = bool(draw.integers(2)), not draw.integers(3)
        word = str(draw.choice(GOOD if good else BAD))
        thing = str(draw.choice(["film", "book", "play", "dinner"]))
        found.append((f"The {thing} was {'not ' if denied else ''}{word}.", "yes" if good != denied else "no"))
    return found


def test_sentences_are_learned_from(client: Client, tmp_path: Path) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([("review", "liked"), *reviews(600, 0)])
    (tmp_path / "reviews.csv").write_text(text.getvalue())
    tokens = {"type": "tokenize", "length": 8, "max_tokens": 50}
    spec = {
        "network": {
            "layers": [
                {"type": "embedding", "output_dim": 16},
                {"type": "gru", "units": 24, "recurrent_dropout": 0.1},
                {"type": "dropout", "rate": 0.1},
                {"type": "dense", "units": "auto"},
            ]
        },
        "loss": "cross_entropy",
        "optimizer": {"type": "adam", "learning_rate": 0.01},
        "data": {
            "dataset": client.upload(tmp_path / "reviews.csv")["id"],
            "target": "liked",
            "preprocessing": [tokens],
        },
        "training": {"epochs": 15},
    }
    job = client.wait(client.submit(spec).id)
    assert job.status == "succeeded" and job.model, job.error
    fresh = reviews(100, 1)
    answer = client.predict(job.model, [{"review": review} for review, _ in fresh], mc_samples=20)
    right = [p["label"] == liked for p, (_, liked) in zip(answer["predictions"], fresh, strict=True)]
    assert np.mean(right) > 0.95
    strange = client.predict(job.model, [{"review": "Zebras?"}, {"review": None}, {"review": ""}], mc_samples=5)
    assert len(strange["predictions"]) == 3
