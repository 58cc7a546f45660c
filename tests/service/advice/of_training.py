"""What breaks the rules of training, and what just does not."""

from typing import Any

from tests.service.advice.given import DROP, Case, Given, columns, dense, images, rows, table

RELU = {"type": "activation", "activation": "relu"}


def optimizer(type: str, **fields: Any) -> Given:
    return table(optimizer={"type": type, **fields})


def sgd(**training: Any) -> Given:
    return table(optimizer={"type": "sgd", "momentum": 0.9}, training=training)


def scheduled(schedule: Any, **changes: Any) -> Given:
    return table(schedule=schedule, **changes)


def stopped(**fields: Any) -> Given:
    return table(regularization={"early_stopping": fields})


def regular(**fields: Any) -> Given:
    return table(optimizer={"type": "sgd", "momentum": 0.9}, regularization=fields)


PLATEAU = {"type": "reduce_on_plateau", "patience": 10}
OPTIMIZATION = [
    Case(
        "fast_adaptive",
        "optimizer.learning_rate",
        optimizer("adam", learning_rate=0.1),
        optimizer("adadelta"),
    ),
    Case("fast_lion", "optimizer.learning_rate", optimizer("lion", learning_rate=0.01), optimizer("lion")),
    Case(
        "fast_sgd",
        "optimizer.learning_rate",
        optimizer("sgd", learning_rate=2.0, momentum=0.5),
        optimizer("sgd", learning_rate=0.1, momentum=0.5),
    ),
    Case("slow_rate", "optimizer.learning_rate", optimizer("adam", learning_rate=1e-8), optimizer("adam")),
    Case(
        "momentum_step",
        "optimizer.learning_rate",
        optimizer("sgd", learning_rate=0.5, momentum=0.9),
        optimizer("sgd", learning_rate=0.1, momentum=0.9),
    ),
    Case(
        "high_momentum",
        "optimizer.momentum",
        optimizer("rmsprop", momentum=0.999),
        optimizer("rmsprop", momentum=0.9),
    ),
    Case(
        "no_momentum",
        "optimizer.momentum",
        table(*[dense()] * 3, optimizer="sgd"),
        table(*[dense()] * 3, optimizer={"type": "sgd", "momentum": 0.9}),
    ),
    Case(
        "adam_betas",
        "optimizer.beta_2",
        optimizer("nadam", beta_1=0.99, beta_2=0.9),
        optimizer("nadam", beta_1=0.9, beta_2=0.9),
    ),
    Case(
        "adagrad_length",
        "optimizer.type",
        table(optimizer="adagrad", training={"epochs": 500}),
        table(optimizer="adagrad"),
    ),
    Case("constant_sgd", "schedule", sgd(epochs=500), sgd(epochs=500, averaging="swa")),
    Case(
        "lbfgs_batches",
        "training.batch_size",
        table(dense(), optimizer="lbfgs"),
        table(dense(), optimizer="lbfgs", training={"batch_size": "all"}),
    ),
    Case(
        "lbfgs_noise",
        "network.layers[1]",
        table(optimizer="lbfgs", training={"batch_size": "all"}),
        table(dense(), optimizer="lbfgs", training={"batch_size": "all"}),
    ),
    Case(
        "lbfgs_noise",
        "regularization.mixing",
        table(dense(), optimizer="lbfgs", regularization={"mixing": "mixup"}, training={"batch_size": "all"}),
        table(dense(), optimizer="adam", regularization={"mixing": "mixup"}, training={"batch_size": "all"}),
    ),
    Case(
        "whole_batch",
        "training.batch_size",
        rows(columns(15_000), training={"batch_size": "all"}),
        rows(columns(1_000), training={"batch_size": "all"}),
    ),
    Case(
        "single_row",
        "training.batch_size",
        table(training={"batch_size": 1}),
        table(training={"batch_size": 1, "accumulate": 32}),
    ),
    Case(
        "batch_beyond_rows",
        "training.batch_size",
        rows(columns(), training={"batch_size": 64, "accumulate": 4}),
        rows(columns(), training={"batch_size": 64, "accumulate": 2}),
    ),
    Case(
        "large_batch",
        "training.batch_size",
        rows(columns(5_000), training={"batch_size": 1024}),
        rows(columns(20_000), training={"batch_size": 1024}),
    ),
    Case(
        "large_batch_warmup",
        "schedule.warmup_epochs",
        sgd(batch_size=512, accumulate=4),
        sgd(batch_size=512),
    ),
    Case(
        "float16_on_cpu",
        "training.precision",
        table(training={"precision": "float16"}),
        table(training={"precision": "float16", "device": "cuda"}),
    ),
    Case(
        "unsettled_statistics",
        "network.layers[1].momentum",
        rows(columns(), dense(), {"type": "batch_norm", "momentum": 0.999}, DROP),
        rows(columns(), dense(), {"type": "batch_norm", "momentum": 0.9}, DROP),
    ),
    Case(
        "unchecked_capacity",
        "network.layers",
        rows(columns(), dense(1000), optimizer="adam"),
        rows(columns(), dense(1000), DROP, optimizer="adam"),
    ),
]

SCHEDULES = [
    Case(
        "training_monitor",
        "regularization.early_stopping.monitor",
        stopped(monitor="accuracy"),
        stopped(monitor="val_accuracy"),
    ),
    Case("impatient_stopping", "regularization.early_stopping.patience", stopped(patience=1), stopped(patience=5)),
    Case("late_stopping", "regularization.early_stopping.patience", stopped(patience=40), stopped(patience=10)),
    Case(
        "one_cycle_stopped",
        "regularization.early_stopping",
        scheduled("one_cycle", regularization={"early_stopping": {}}),
        scheduled("cosine", regularization={"early_stopping": {}}),
    ),
    Case(
        "plateau_patience",
        "schedule.patience",
        scheduled(PLATEAU, regularization={"early_stopping": {"patience": 10}}),
        scheduled(PLATEAU, regularization={"early_stopping": {"patience": 20}}),
    ),
    Case(
        "idle_schedule",
        "schedule.every_epochs",
        scheduled({"type": "step", "every_epochs": 50.0}),
        scheduled({"type": "step", "every_epochs": 20.0}),
    ),
    Case(
        "idle_schedule",
        "schedule.at_epochs",
        scheduled({"type": "multi_step", "at_epochs": [60.0, 90.0]}),
        scheduled({"type": "multi_step", "at_epochs": [30.0, 90.0]}),
    ),
    Case(
        "idle_schedule",
        "schedule.patience",
        scheduled({"type": "reduce_on_plateau", "patience": 38, "warmup_epochs": 2.0}),
        scheduled({"type": "reduce_on_plateau", "patience": 38}),
    ),
    Case(
        "vanishing_rate",
        "schedule",
        scheduled({"type": "exponential", "gamma": 0.5}),
        scheduled({"type": "exponential", "gamma": 0.95}),
    ),
    Case(
        "long_warmup",
        "schedule.warmup_epochs",
        scheduled({"type": "cosine", "warmup_epochs": 20.0}),
        scheduled({"type": "cosine", "warmup_epochs": 5.0}),
    ),
    Case(
        "swa_schedule",
        "schedule",
        scheduled("cosine", training={"averaging": "swa"}),
        scheduled({"type": "cosine", "min_factor": 0.1}, training={"averaging": "swa"}),
    ),
    Case(
        "long_average",
        "training.averaging.decay",
        rows(columns(), training={"averaging": "ema"}),
        rows(columns(), training={"averaging": {"type": "ema", "decay": 0.98}}),
    ),
]

REGULARIZATION = [
    Case(
        "coupled_decay",
        "regularization.l2",
        table(optimizer="adam", regularization={"l2": 1e-4}),
        table(optimizer="rmsprop", regularization={"l2": 1e-4}),
    ),
    Case(
        "coupled_decay",
        "network.layers[0].branches[0].regularizer.l2",
        table({"type": "parallel", "branches": [dense(regularizer={"l2": 1e-4}), dense()]}, DROP),
        table({"type": "parallel", "branches": [dense(regularizer={"l1": 1e-4}), dense()]}, DROP),
    ),
    Case("strong_penalty", "regularization.l1", regular(l1=1.0), regular(l1=0.001)),
    Case(
        "strong_penalty",
        "network.regularizer.l2",
        table(optimizer="rmsprop", network={"regularizer": {"l2": 0.5}}),
        table(optimizer="rmsprop", network={"regularizer": {"l2": 0.001}}),
    ),
    Case(
        "strong_decay",
        "optimizer.weight_decay",
        optimizer("adamw", weight_decay=2.0),
        optimizer("adamw", weight_decay=0.05),
    ),
    Case("tight_max_norm", "regularization.max_norm", regular(max_norm=0.1), regular(max_norm=3.0)),
    Case(
        "tight_max_norm",
        "network.layers[0].constraint.max_norm",
        table(dense(constraint={"max_norm": 0.1}), DROP),
        table(dense(constraint={"max_norm": 4.0}), DROP),
    ),
    Case(
        "tight_max_norm",
        "network.constraint.max_norm",
        table(network={"constraint": {"max_norm": 0.1}}),
        table(network={"constraint": {"max_norm": 4.0}}),
    ),
    Case("tight_clipping", "regularization.clip_norm", regular(clip_norm=0.001), regular(clip_norm=1.0)),
    Case("tight_clipping", "regularization.clip_value", regular(clip_value=1e-6), regular(clip_value=0.5)),
    Case(
        "mixup_alpha",
        "regularization.mixing.alpha",
        images(regularization={"mixing": {"type": "mixup", "alpha": 4.0}}),
        images(regularization={"mixing": {"type": "mixup", "alpha": 0.4}}),
    ),
]

CASES = [*OPTIMIZATION, *SCHEDULES, *REGULARIZATION]
