"""The predictor: a worker of its own that predicts whole files, so that none of them waits for a training job."""
