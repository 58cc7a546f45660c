"""The Open Inference Protocol, version 2, over REST: what KServe's and Triton's clients speak."""
