"""How much rows count: 1 on average over the training rows, in the ratios of the column."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.data.frame import Column
from service.data.pipeline import TargetCodec
from service.errors import InvalidSpec
from service.store.engine import Store
from tests.support.uploaded import Uploader, spec_of
from tests.worker.runs import put
from worker.data import load, prepare
from worker.weights import weights_of

TRAIN = np.array([0, 1, 2])


def column(*values: float) -> dict[str, Column]:
    return {"w": Column("number", np.array(values, np.float64))}


def weighed(loss: str | dict[str, Any], frame: dict[str, Column], **data: Any) -> NDArray[np.float32] | None:
    """The weights of four rows of the classes 0, 0, 1, 1."""
    spec = spec_of(loss, target="target", **data)  # type: ignore[arg-type]
    classes, y = ((0, 1), np.array([0, 0, 1, 1])) if spec.loss.task == "classification" else (None, np.zeros((4, 1)))
    target = TargetCodec(("target",), spec.loss.task, classes, 1, np.zeros(1), np.ones(1))
    return weights_of(spec, frame, target, y, TRAIN)


def test_training_rows_count_one_on_average() -> None:
    weights = weighed("mse", column(1, 2, 3, 100), sample_weight="w")
    assert weights is not None and weights.dtype == np.float32
    assert weights.tolist() == [0.5, 1, 1.5, 50]


def test_rows_count_by_their_class_and_on_their_own() -> None:
    frame, loss = column(1, 2, 3, 100), {"type": "cross_entropy", "class_weights": {"0": 2.0, "1": 0.5}}
    by_class, by_both = weighed(loss, frame), weighed(loss, frame, sample_weight="w")
    assert by_class is not None and by_class.tolist() == [2, 2, 0.5, 0.5]
    assert by_both is not None and by_both.tolist() == [1, 2, 0.75, 25]
    assert weighed("cross_entropy", frame) is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((1, 2, np.nan, 1), "missing, infinite or negative"),
        ((1, 2, np.inf, 1), "missing, infinite or negative"),
        ((1, 2, -1, 1), "missing, infinite or negative"),
        ((0, 0, 0, 1), "all training rows the weight 0"),
        ((1e-300, 1e-300, 1e-300, 1e300), "too far apart"),
    ],
)
def test_weights_that_cannot_weigh_are_refused(values: tuple[float, ...], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words) as caught:
        weighed("mse", column(*values), sample_weight="w")
    assert caught.value.problems[0].path == "data.sample_weight"


def test_weights_come_with_the_data_and_are_no_feature(sqlite_store: Store, tmp_path: Path) -> None:
    lines = [f"{i % 7},{i % 5},{1 + i % 3},{'ab'[i % 2]},{i % 2}" for i in range(40)]
    csv = "\n".join(["x,y,w,site,target", *lines]).encode()
    dataset = put(sqlite_store, tmp_path / "rows.csv", csv)
    spec = spec_of(target="target", sample_weight="w", split={"group": "site"})
    data = load(sqlite_store, dataset, spec)
    assert data.input_shape == (2,)
    assert [shown["name"] for shown in data.columns] == ["x", "y", "target"]
    assert data.weight is not None and data.weight.shape == (40,)
    assert data.weight[data.train].mean().item() == pytest.approx(1)
    assert data.to("meta").weight is not None
    assert {line.split(",")[3] for line in np.array(lines)[data.validation]} in ({"a"}, {"b"})


def test_without_a_column_there_are_no_weights(tmp_path: Path) -> None:
    found = Uploader(tmp_path)("a,target\n1,0\n2,1\n3,0\n4,1\n5,0\n6,1\n")
    assert prepare(found.read(), found.profile.columns, spec_of(target="target")).weight is None
