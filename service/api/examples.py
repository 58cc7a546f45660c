"""Examples that the OpenAPI document carries: a client can send them as they are, but for the ids."""

DATASET = "ds_01k5c1y6nq3v8r2m7x4t9w0zha"

SPECS: dict[str, object] = {
    "classification": {
        "name": "wine",
        "network": {
            "layers": [
                {"type": "dense", "units": 64, "activation": "relu"},
                {"type": "dropout", "rate": 0.2},
                {"type": "dense", "units": "auto"},
            ]
        },
        "loss": "cross_entropy",
        "optimizer": {"type": "adam", "learning_rate": 0.003},
        "regularization": {"early_stopping": {"monitor": "val_loss", "patience": 10}},
        "data": {
            "dataset": DATASET,
            "target": "target",
            "split": {"validation": 0.2, "test": 0.1},
            "preprocessing": "standardize",
        },
        "training": {"epochs": 50, "batch_size": 32, "seed": 0},
        "metrics": ["accuracy"],
    },
    "regression": {
        "network": {
            "layers": [{"type": "dense", "units": 32, "activation": "relu"}, {"type": "dense", "units": "auto"}]
        },
        "loss": "mse",
        "data": {
            "dataset": DATASET,
            "target": "target",
            "preprocessing": "standardize",
            "target_preprocessing": "standardize",
        },
    },
}
FILES: dict[str, object] = {
    "text/csv": "alcohol,hue,target\n13.2,1.05,red\n12.4,0.98,white\n13.9,1.1,red\n",
    "application/json": [{"alcohol": 13.2, "hue": 1.05, "target": "red"}, {"alcohol": 12.4, "target": "white"}],
}
PREDICTIONS: dict[str, object] = {
    "objects": {"rows": [{"alcohol": 13.2, "hue": 1.05}], "mc_samples": 50, "seed": 1},
    "arrays": {"rows": [[13.2, 1.05], [12.4, 0.98]], "mc_samples": 0},
    "samples": {"rows": [[13.2, 1.05]], "return_samples": True, "quantiles": [0.05, 0.5, 0.95]},
    "as many samples as it takes": {"rows": [[13.2, 1.05]], "mc_samples": 1000, "adaptive": {"tolerance": 0.01}},
    "only what is sure": {"rows": [[13.2, 1.05]], "abstain": {"above": {"predictive_entropy": 0.5}}},
}
EVALUATIONS: dict[str, object] = {
    "a data set": {"dataset": DATASET, "mc_samples": 50, "coverage": 0.9},
    "rows": {"rows": [{"alcohol": 13.2, "hue": 1.05, "target": "red"}], "mc_samples": 0},
}
IMPORTANCES: dict[str, object] = {"a data set": {"dataset": DATASET, "repeats": 5, "seed": 0}}
INFERENCES: dict[str, object] = {
    "all columns in one tensor": {
        "inputs": [{"name": "input", "shape": [2, 2], "datatype": "FP64", "data": [[13.2, 1.05], [12.4, 0.98]]}],
        "parameters": {"mc_samples": 50, "seed": 1},
    },
    "a tensor for each column": {
        "inputs": [
            {"name": "alcohol", "shape": [2], "datatype": "FP32", "data": [13.2, 12.4]},
            {"name": "hue", "shape": [2], "datatype": "FP32", "data": [1.05, None]},
        ],
        "outputs": [{"name": "label"}, {"name": "probabilities"}],
    },
}
CHECKS: dict[str, object] = {
    "a whole specification": {"spec": SPECS["classification"]},
    "without data": {
        "spec": {"network": {"layers": ["flatten", {"type": "dense", "units": "auto"}]}, "loss": "cross_entropy"},
        "input_shape": [1, 8, 8],
        "outputs": 10,
    },
}
