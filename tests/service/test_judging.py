"""What the commands that judge a model print."""

import json

import pytest

from service.judging import print_evaluation, print_importance
from service.terminal import print_predictions

EVALUATION = {
    "rows": 178,
    "mc_samples": 50,
    "seed": 0,
    "calibrated": True,
    "note": "The model was trained on this data set.",
    "metrics": {
        "accuracy": 0.97,
        "confusion_matrix": [[1, 2], [3, 4]],
        "nll": None,
        "conformal": {"coverage": 0.91, "sharpness": 1.2},
    },
    "risk_coverage": {"by": "predictive_entropy", "area": 0.0123456, "points": []},
}


@pytest.mark.parametrize("conformal", [True, False])
def test_an_evaluation_is_a_table_of_figures(conformal: bool, capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads(json.dumps(EVALUATION))
    if not conformal:
        answer |= {"calibrated": False, "note": None}
        answer["metrics"]["conformal"] = None
    print_evaluation(answer)
    said = capsys.readouterr().out
    assert [line.split() for line in said.splitlines()[1:3]] == [["accuracy", "0.97"], ["nll", "-"]]
    assert "confusion" not in said and "risk-coverage area by predictive_entropy" in said
    assert ("conformal coverage" in said) is conformal and ("trained on this" in said) is conformal
    assert ("not calibrated" in said) is not conformal


def test_the_most_important_column_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [{"column": name, "mean": mean, "std": 0.01} for name, mean in (("a", 0.1), ("b", 0.3), ("c", None))]
    print_importance({"metric": "accuracy", "baseline": 0.9, "rows": 1000, "repeats": 5, "columns": columns})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["b", "a", "c"]
    assert lines[-1] == "accuracy is 0.9 on 1,000 rows; 5 shuffles a column"


def test_labels_are_printed_like_classes(capsys: pytest.CaptureFixture[str]) -> None:
    prediction = {
        "labels": ["red", "round"],
        "probabilities": {"red": 0.9, "round": 0.7},
        "probabilities_std": {"red": 0.1, "round": 0.2},
        "predictive_entropy": 1.0,
        "mutual_information": 0.1,
    }
    print_predictions({"predictions": [prediction], "stochastic_layers": [], "mc_samples": 0, "seed": 0})
    assert "red, round" in capsys.readouterr().out
