"""What breaks the rules of data, and what just does not."""

from typing import Any

from tests.service.advice.given import Case, columns, images, lstm, number, rows, table

GREY = (1, 28, 28)
NUMBER = {"loss": "mse", "data": {"target_preprocessing": "standardize"}}
WORDS = columns(word=lambda i: "red green blue"[i % 3 * 4 :][:4].strip())


def whole(change: Any) -> str:
    """A data set whose `x` is as given."""
    return columns(x=change)


def split(**fields: Any) -> Any:
    return {"data": {"split": fields}}


def unscaled(change: Any) -> Any:
    return rows(whole(change), data={"preprocessing": []})


def classes(rare: int, **changes: Any) -> Any:
    """200 rows, `rare` of which are of the second class."""
    return rows(columns(y=lambda i: "ab"[i < rare]), **changes)


def target(change: Any, loss: str = "mse", **data: Any) -> Any:
    return rows(columns(y=change), loss=loss, data={"target_preprocessing": "standardize", **data})


def waves(i: int) -> str:
    return f"{(i * 37 % 100) / 30 - 1.6:.3f}"


DATA = [
    Case("unscaled_input", "data.preprocessing", table(data={"preprocessing": "channel_mean"}), table()),
    Case("unscaled_input", "data.preprocessing", unscaled(lambda i: f"{i * 100}.5"), unscaled(waves)),
    Case(
        "unscaled_target",
        "data.target_preprocessing",
        number(data={"target_preprocessing": None}),
        number(loss="poisson", data={"target_preprocessing": None}),
    ),
    Case(
        "unscaled_target",
        "data.target_preprocessing",
        target(lambda i: f"{i * 1000}.5", target_preprocessing=None),
        target(waves, target_preprocessing=None),
    ),
    Case("no_validation", "data.split.validation", table(**split(validation=0.0)), table()),
    Case(
        "no_validation",
        "data.split.validation",
        rows(columns(part=lambda i: "train"), data={"split": {"column": "part", "validation": 0.0, "test": 0.0}}),
        rows(
            columns(part=lambda i: "train" if i % 4 else "validation"),
            data={"split": {"column": "part", "validation": 0.0, "test": 0.0}},
        ),
    ),
    Case(
        "no_test",
        "data.split.test",
        table(regularization={"early_stopping": {}}, **split(test=0.0)),
        table(regularization={"early_stopping": {}}),
    ),
    Case(
        "few_training_rows",
        "data.split.test",
        table(**split(validation=0.2, test=0.5)),
        table(**split(validation=0.2, test=0.2)),
    ),
    Case("few_validation_rows", "data.split.validation", rows(columns(60)), rows(columns(200))),
    Case(
        "turned_characters",
        "data.augmentation[0]",
        images(shape=GREY, data={"augmentation": "random_flip"}),
        images(data={"augmentation": "random_flip"}),
    ),
    Case(
        "turned_characters",
        "data.augmentation[0]",
        images(shape=GREY, data={"augmentation": {"type": "random_rotation", "degrees": 180}}),
        images(shape=GREY, data={"augmentation": {"type": "random_rotation", "degrees": 15}}),
    ),
]

CODES = {"data": {"preprocessing": ["standardize", "one_hot"]}}
ORDINAL = {"data": {"features": ["word"], "preprocessing": "ordinal"}}
TOKENS = {"data": {"features": ["word"], "preprocessing": {"type": "tokenize", "length": 4}}}
EMBEDDED = ({"type": "embedding", "output_dim": 2}, lstm())
IMPUTED = ["impute", "standardize"]
COLUMNS = [
    Case(
        "many_codes",
        "data.preprocessing[1]",
        rows(columns(400, word=lambda i: f"w{i % 150}"), **CODES),
        rows(columns(400, word=lambda i: f"w{i % 50}"), **CODES),
    ),
    Case("ordinal_order", "data.preprocessing[0]", rows(WORDS, **ORDINAL), rows(WORDS, *EMBEDDED, **ORDINAL)),
    Case("raw_tokens", "data.preprocessing[0]", rows(WORDS, **TOKENS), rows(WORDS, *EMBEDDED, **TOKENS)),
    Case(
        "outlying_feature",
        "data.preprocessing[0]",
        rows(whole(lambda i: "1e6" if i == 7 else waves(i)), data={"preprocessing": "min_max"}),
        rows(whole(lambda i: "1e6" if i == 7 else waves(i)), data={"preprocessing": ["arctan", "min_max"]}),
    ),
    Case(
        "log_of_negatives",
        "data.preprocessing[0].offset",
        rows(whole(waves), data={"preprocessing": ["log", "standardize"]}),
        rows(whole(waves), data={"preprocessing": [{"type": "log", "offset": 2.0}, "standardize"]}),
    ),
    Case(
        "heavy_imputation",
        "data.preprocessing[0].indicator",
        rows(whole(lambda i: waves(i) if i % 2 else ""), data={"preprocessing": IMPUTED}),
        rows(whole(lambda i: waves(i) if i % 9 else ""), data={"preprocessing": IMPUTED}),
    ),
    Case(
        "constant_feature",
        "data.features",
        rows(columns(z=lambda i: 5)),
        rows(columns(z=lambda i: i % 2)),
    ),
    Case("row_number", "data.features", rows(columns(z=lambda i: i + 1)), rows(columns(z=lambda i: i * i))),
    Case(
        "unbalanced_accuracy",
        "metrics",
        classes(20, metrics=["accuracy"]),
        classes(20, metrics=["accuracy", "f1"]),
    ),
    Case(
        "unbalanced_loss",
        "loss.class_weights",
        classes(5, metrics=["f1"]),
        classes(5, metrics=["f1"], loss={"type": "cross_entropy", "class_weights": "balanced"}),
    ),
    Case("squared_error_of_classes", "loss", target(lambda i: i % 2), target(lambda i: i % 5)),
    Case(
        "outlying_target",
        "loss",
        target(lambda i: "1e6" if i == 7 else waves(i)),
        target(lambda i: "1e6" if i == 7 else waves(i), loss="huber"),
    ),
]

CASES = [*DATA, *COLUMNS]
