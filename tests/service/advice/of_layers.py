"""What breaks the rules of layers, and what just does not."""

from tests.service.advice.given import (
    ATTENTION,
    DROP,
    NORM,
    OUT,
    PLACES,
    POOL,
    Case,
    Given,
    conv,
    dense,
    images,
    lstm,
    number,
    residual,
    sequences,
    table,
)

RELU = {"type": "activation", "activation": "relu"}
SELU = [dense(activation="selu"), {"type": "alpha_dropout", "rate": 0.1}]
LSTMS = [lstm(return_sequences=True), lstm()]
CLIP = {"regularization": {"clip_norm": 1.0}}
LONG = (40, 4)
PLAIN = {"type": "dense", "units": 16}


def dropped(rate: float, kind: str = "dropout") -> dict[str, object]:
    return {"type": kind, "rate": rate}


def tight(start: object, count: int = 4) -> Given:
    return table(*[dense(64)] * count, DROP, network={"initializer": start})


def bare(*layers: object, **changes: object) -> Given:
    """Layers and nothing behind them."""
    return Given({**table(**changes).body, "network": {"layers": list(layers)}}, (8,))


WEIGHTS = [
    Case(
        "selu_initializer",
        "network.layers[0].initializer",
        table(dense(activation="selu", initializer="he_normal"), SELU[1]),
        table(dense(activation="selu", initializer="lecun_uniform"), SELU[1]),
    ),
    Case(
        "selu_initializer",
        "network.layers[0].initializer",
        table(dense(activation="selu", initializer={"type": "variance_scaling", "scale": 2.0}), SELU[1]),
        table(dense(activation="selu", initializer="variance_scaling"), SELU[1]),
    ),
    Case(
        "rectifier_initializer",
        "network.layers[0].layers[0].initializer",
        table(residual(dense(8, initializer="glorot_uniform"), dense(8)), DROP),
        table(residual(dense(8, initializer="he_uniform"), dense(8)), DROP),
    ),
    Case(
        "rectifier_initializer",
        "network.layers[0].initializer",
        table(dense(initializer="lecun_normal"), DROP),
        table(dense(activation="tanh", initializer="lecun_normal"), DROP),
    ),
    Case(
        "rectifier_initializer",
        "network.initializer",
        table(dense(), dense(), DROP, network={"initializer": "glorot_normal"}),
        table(dense(), dense(), DROP, network={"initializer": "he_normal"}),
    ),
    Case(
        "saturating_initializer",
        "network.layers[0].initializer",
        table(dense(activation="tanh", initializer="he_normal"), DROP),
        table(dense(activation="tanh", initializer="glorot_normal"), DROP),
    ),
    Case(
        "symmetric_initializer",
        "network.layers[0].initializer",
        table(dense(initializer={"type": "constant", "value": 0.5}), DROP),
        table(dense(initializer="identity"), DROP),
    ),
    Case(
        "large_initial_weights",
        "network.initializer",
        tight({"type": "normal", "std": 1.0}),
        tight({"type": "normal", "std": 0.2}),
    ),
    Case(
        "large_initial_weights",
        "network.layers[0].initializer",
        table(dense(initializer={"type": "orthogonal", "gain": 5.0}), DROP),
        table(dense(initializer={"type": "uniform", "low": -1.0, "high": 1.0}), DROP),
    ),
    Case(
        "small_initial_weights",
        "network.initializer",
        tight({"type": "normal", "std": 0.01}),
        tight({"type": "normal", "std": 0.1}),
    ),
    Case(
        "large_bias",
        "network.bias_initializer",
        table(network={"bias_initializer": {"type": "constant", "value": 3.0}}),
        table(network={"bias_initializer": {"type": "constant", "value": 0.01}}),
    ),
    Case(
        "dead_bias",
        "network.layers[0].bias_initializer",
        table(dense(bias_initializer={"type": "constant", "value": -0.5}), DROP),
        table(dense(activation="tanh", bias_initializer={"type": "constant", "value": -0.5}), DROP),
    ),
]

ACTIVATIONS = [
    Case("selu_input", "data.preprocessing", table(*SELU, data={"preprocessing": "min_max"}), table(*SELU)),
    Case(
        "selu_recurrent",
        "network.layers[1].activation",
        sequences(lstm(), dense(activation="selu")),
        sequences(lstm(), dense(activation="elu")),
    ),
    Case(
        "selu_skip",
        "network.layers[0].layers[0].activation",
        table(residual(dense(8, "selu"), dense(8, "selu")), SELU[1]),
        table(dense(8, "selu"), dense(8, "selu"), SELU[1]),
    ),
    Case(
        "selu_batch_norm",
        "network.layers[1]",
        table(SELU[0], "batch_norm", SELU[1]),
        table(dense(), "batch_norm", DROP),
    ),
    Case(
        "activation_ranking",
        "network.layers[0].activation",
        table(*[dense()] * 6, DROP),
        table(*[dense(activation="elu")] * 6, DROP),
    ),
    Case(
        "activation_ranking",
        "network.activation",
        table(*[PLAIN] * 6, DROP, network={"activation": "relu"}),
        table(*[PLAIN, "layer_norm"] * 6, DROP, network={"activation": "relu"}),
    ),
    Case(
        "saturating_depth",
        "network.layers[0].activation",
        table(*[dense(activation="tanh")] * 3, DROP),
        table(*[dense(activation="tanh")] * 2, DROP),
    ),
    Case(
        "saturating_depth",
        "network.layers[0].branches[0].layers[0].activation",
        table({"type": "parallel", "branches": [{"type": "sequential", "layers": [dense(8, "tanh")] * 3}]}, DROP),
        table({"type": "parallel", "branches": [{"type": "sequential", "layers": [dense(8, "elu")] * 3}]}, DROP),
    ),
    Case(
        "sigmoid_hidden",
        "network.layers[0].activation",
        table(dense(activation="sigmoid"), DROP),
        table(dense(activation="sigmoid"), DROP, pretrain="rbm"),
    ),
    Case(
        "step_gradient",
        "network.layers[0].activation",
        table(dense(activation="step"), DROP),
        table(dense(activation="hard_sigmoid"), DROP),
    ),
    Case(
        "leaky_slope",
        "network.activation.slope",
        table(*[PLAIN] * 2, DROP, network={"activation": {"type": "leaky_relu", "slope": 1.0}}),
        table(*[PLAIN] * 2, DROP, network={"activation": {"type": "leaky_relu", "slope": 0.3}}),
    ),
    Case(
        "leaky_slope",
        "network.layers[0].activation.upper",
        table(dense(activation={"type": "rrelu", "upper": 2.0}), DROP),
        table(dense(activation="rrelu"), DROP),
    ),
    Case(
        "elu_alpha",
        "network.layers[0].activation.alpha",
        table(dense(activation={"type": "elu", "alpha": 2.0}), DROP),
        table(dense(activation={"type": "celu", "alpha": 2.0}), DROP),
    ),
    Case(
        "softplus_hidden",
        "network.layers[1].activation",
        table(dense(activation=None), {"type": "activation", "activation": "softplus"}, DROP),
        table(dense(activation=None), {"type": "activation", "activation": "gelu"}, DROP),
    ),
    Case(
        "softmax_hidden",
        "network.layers[0].activation",
        table(dense(activation="softmax"), DROP),
        table({"type": "parallel", "branches": [dense(8, "softmax"), dense(8)]}, DROP),
    ),
    Case(
        "linear_stack",
        "network.layers[0].activation",
        images(conv(activation=None), conv(), POOL, DROP),
        images({"type": "depthwise_conv2d", "kernel_size": 3}, conv(1), POOL, DROP),
    ),
    Case(
        "linear_stack",
        "network.layers[0].layers[0].activation",
        table(residual(dense(8, None), dense(8)), DROP),
        table(dense(8, None), residual(dense(8), dense(8)), DROP),
    ),
    Case(
        "double_activation",
        "network.layers[2]",
        table(dense(), DROP, {"type": "activation", "activation": "tanh"}),
        table(dense(activation="linear"), DROP, {"type": "activation", "activation": "tanh"}),
    ),
    Case(
        "residual_activation",
        "network.layers[0].activation",
        table(residual(dense(8), dense(8), activation="tanh"), DROP),
        table(residual(dense(8), dense(8), activation="relu"), DROP),
    ),
]

OUTPUTS = [
    Case(
        "applied_link",
        "network.layers[2].layers[0].activation",
        bare(dense(), DROP, {"type": "sequential", "layers": [dense(3, "softmax")]}),
        bare(dense(), DROP, {"type": "sequential", "layers": [dense(3, None)]}),
    ),
    Case(
        "applied_link",
        "network.layers[3].activation",
        Given(
            number(loss="poisson", data={"target_preprocessing": None}).body
            | {"network": {"layers": [dense(), DROP, OUT, {"type": "activation", "activation": "softplus"}]}},
            (8,),
            1,
        ),
        number(loss="poisson", data={"target_preprocessing": None}),
    ),
    Case(
        "output_activation",
        "network.layers[1].activation",
        Given(number().body | {"network": {"layers": [DROP, {**OUT, "activation": "sigmoid"}]}}, (8,), 1),
        Given(
            number(data={"target_preprocessing": "min_max"}).body
            | {"network": {"layers": [DROP, {**OUT, "activation": "sigmoid"}]}},
            (8,),
            1,
        ),
    ),
    Case(
        "hinge_probabilities",
        "metrics[1]",
        table(loss="hinge", metrics=["accuracy", "ece"]),
        table(loss="cross_entropy", metrics=["accuracy", "ece"]),
    ),
    Case(
        "label_smoothing",
        "loss.label_smoothing",
        table(loss={"type": "cross_entropy", "label_smoothing": 0.5}),
        table(loss={"type": "cross_entropy", "label_smoothing": 0.1}),
    ),
    Case(
        "focal_gamma",
        "loss.gamma",
        table(loss={"type": "focal", "gamma": 8.0}),
        table(loss={"type": "focal", "gamma": 2.0}),
    ),
]

ORDER = [
    Case(
        "bias_before_batch_norm",
        "network.layers[0].layers[0].use_bias",
        table(residual(dense(8, None), "batch_norm", RELU, dense(8)), DROP),
        table(residual(dense(8, None, use_bias=False), "batch_norm", RELU, dense(8)), DROP),
    ),
    Case(
        "single_row_batch_norm",
        "training.batch_size",
        table(dense(), "batch_norm", DROP, training={"batch_size": 1}),
        table(dense(), "layer_norm", DROP, training={"batch_size": 1}),
    ),
    Case(
        "small_batch_norm",
        "training.batch_size",
        table(dense(), "batch_norm", DROP, training={"batch_size": 4}),
        table(dense(), "batch_norm", DROP, training={"batch_size": 8}),
    ),
    Case(
        "batch_norm_output",
        "network.layers[3]",
        bare(dense(), DROP, {**OUT, "use_bias": False}, "batch_norm"),
        bare(dense(), DROP, "batch_norm", {**OUT, "use_bias": False}),
    ),
    Case(
        "decay_before_batch_norm",
        "network.layers[0].regularizer.l2",
        table(dense(activation=None, use_bias=False, regularizer={"l2": 1e-4}), "batch_norm", RELU, DROP),
        table(dense(activation=None, use_bias=False, regularizer={"l1": 1e-4}), "batch_norm", RELU, DROP),
    ),
    Case(
        "decay_before_batch_norm",
        "regularization.l2",
        table(dense(activation=None, use_bias=False), "batch_norm", RELU, DROP, regularization={"l2": 1e-4}),
        table(dense(), "batch_norm", DROP, regularization={"l2": 1e-4}),
    ),
    Case(
        "sequence_batch_norm",
        "network.layers[1]",
        sequences(lstm(return_sequences=True), "batch_norm", lstm(), **CLIP),
        sequences(lstm(return_sequences=True), NORM, lstm(), **CLIP),
    ),
    Case(
        "dropout_before_normalization",
        "network.layers[1]",
        table(dense(), DROP, "batch_norm"),
        table(dense(), DROP, "layer_norm"),
    ),
]

DROPOUTS = [
    Case(
        "dropout_rate",
        "network.layers[1].rate",
        table(dense(), dropped(0.9)),
        table(dense(), dropped(0.5)),
    ),
    Case(
        "alpha_dropout_rate",
        "network.layers[1].rate",
        table(SELU[0], dropped(0.5, "alpha_dropout")),
        table(SELU[0], dropped(0.1, "alpha_dropout")),
    ),
    Case("selu_dropout", "network.layers[1].type", table(SELU[0], DROP), table(*SELU)),
    Case(
        "dropout_on_inputs",
        "network.layers[0].rate",
        table(dropped(0.4), dense()),
        table(dropped(0.2), dense()),
    ),
    Case(
        "convolution_dropout_rate",
        "network.layers[2].rate",
        images(conv(), "max_pool2d", dropped(0.5), conv(), POOL),
        images(conv(), "max_pool2d", dropped(0.25), conv(), POOL, dropped(0.5)),
    ),
    Case(
        "dropout_of_pixels",
        "network.layers[0].layers[1].type",
        images(residual(conv(filters=3), DROP, conv(filters=3)), POOL),
        images(residual(conv(filters=3), dropped(0.2, "spatial_dropout"), conv(filters=3)), POOL),
    ),
    Case(
        "dropout_between_steps",
        "network.layers[1]",
        sequences(LSTMS[0], DROP, LSTMS[1], **CLIP),
        sequences(*LSTMS, DROP, **CLIP),
    ),
    Case("dropout_on_outputs", "network.layers[2]", bare(dense(), OUT, DROP), bare(dense(), DROP, OUT)),
    Case(
        "dropout_bottleneck",
        "network.layers[0].units",
        table(dense(4), dropped(0.5)),
        table(dense(8), dropped(0.5)),
    ),
    Case(
        "dropout_without_momentum",
        "optimizer.momentum",
        table(optimizer="sgd"),
        table(optimizer={"type": "sgd", "momentum": 0.9}),
    ),
    Case(
        "no_uncertainty",
        "network.layers",
        sequences({"type": "lstm", "units": 16}),
        sequences({"type": "lstm", "units": 16, "recurrent_dropout": 0.1}),
    ),
]

UP = {"type": "conv2d_transpose", "filters": 4, "stride": 2, "activation": "relu"}
SHAPES = [
    Case("bottleneck", "network.layers[0]", table(dense(2), DROP), table(dense(3), dropped(0.1))),
    Case(
        "wide_kernel",
        "network.layers[1].kernel_size",
        images(conv(7), conv(7), POOL, DROP),
        images(conv(7), conv(5), POOL, DROP),
    ),
    Case(
        "even_kernel",
        "network.layers[0].kernel_size",
        images(conv(4), POOL, DROP),
        images(conv(4, stride=2), POOL, DROP),
    ),
    Case(
        "skipped_places",
        "network.layers[1].stride",
        images(conv(), {"type": "max_pool2d", "pool_size": 2, "stride": 3}, POOL, DROP),
        images(conv(), {"type": "max_pool2d", "pool_size": 3, "stride": 2}, POOL, DROP),
    ),
    Case(
        "skipped_places",
        "network.layers[0].shortcut[0].stride",
        images(residual(conv(stride=2), shortcut=[conv(1, stride=2, activation="linear")]), POOL, DROP),
        images(residual(conv(stride=2), shortcut=[conv(2, stride=2, activation="linear")]), POOL, DROP),
    ),
    Case(
        "large_flatten",
        "network.layers[1]",
        images(conv(), "flatten", dense(), DROP),
        images(conv(), "max_pool2d", "flatten", dense(), DROP),
    ),
    Case(
        "plain_depth",
        "network.layers",
        table(*[dense(activation="elu")] * 21, DROP),
        table(*[residual(dense(8), dense(8))] * 11, DROP),
    ),
    Case(
        "linear_residual",
        "network.layers[0].layers",
        table(residual(dense(8, None)), dense(), DROP),
        table(residual(dense(8)), dense(), DROP),
    ),
    Case(
        "checkerboard",
        "network.layers[0].kernel_size",
        images({**UP, "kernel_size": 3}, POOL, DROP),
        images({**UP, "kernel_size": 4}, POOL, DROP),
    ),
    Case(
        "gridding",
        "network.layers[1].dilation",
        images(conv(dilation=2), conv(dilation=2), POOL, DROP),
        images(conv(dilation=2), conv(dilation=5), POOL, DROP),
    ),
]

BLOCK = residual(NORM, ATTENTION)
TOKENS = {"type": "embedding", "input_dim": 10}
SEQUENCES = [
    Case(
        "simple_rnn_length",
        "network.layers[0].type",
        sequences({**lstm(), "type": "simple_rnn"}, shape=LONG),
        sequences({**lstm(), "type": "simple_rnn"}),
    ),
    Case(
        "forget_bias",
        "network.layers[0].unit_forget_bias",
        sequences(shape=LONG, **CLIP),
        sequences(lstm(unit_forget_bias=True), shape=LONG, **CLIP),
    ),
    Case(
        "recurrent_start",
        "network.layers[0].recurrent_initializer",
        sequences({**lstm(), "type": "gru"}, shape=LONG, **CLIP),
        sequences({**lstm(), "type": "gru", "recurrent_initializer": "orthogonal"}, shape=LONG, **CLIP),
    ),
    Case("recurrent_clipping", "regularization.clip_norm", sequences(*LSTMS), sequences(*LSTMS, **CLIP)),
    Case(
        "attention_positions",
        "network.layers[0].layers[1]",
        sequences(BLOCK, POOL),
        sequences(PLACES, BLOCK, POOL),
    ),
    Case(
        "attention_residual",
        "network.layers[2]",
        sequences(PLACES, NORM, ATTENTION, NORM, ATTENTION, POOL),
        sequences(PLACES, BLOCK, BLOCK, POOL),
    ),
    Case(
        "attention_normalization",
        "network.layers[1].layers[0]",
        sequences(PLACES, residual(ATTENTION), residual(ATTENTION), POOL),
        sequences(PLACES, BLOCK, BLOCK, POOL),
    ),
    Case(
        "attention_warmup",
        "schedule.warmup_epochs",
        sequences(PLACES, residual(ATTENTION), NORM, POOL),
        sequences(PLACES, residual(ATTENTION), NORM, POOL, schedule={"type": "cosine", "warmup_epochs": 2}),
    ),
    Case(
        "embedding_width",
        "network.layers[0].output_dim",
        sequences({**TOKENS, "output_dim": 10}, lstm(), shape=(12,)),
        sequences({**TOKENS, "output_dim": 4}, lstm(), shape=(12,)),
    ),
]

CASES = [*WEIGHTS, *ACTIVATIONS, *OUTPUTS, *ORDER, *DROPOUTS, *SHAPES, *SEQUENCES]
