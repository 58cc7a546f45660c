"""Prepared rows on the worker's disk: what is too large for memory is mapped from there."""
