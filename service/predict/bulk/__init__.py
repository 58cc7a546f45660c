"""Predicting more rows than fit into memory: read, predicted and written a tile at a time, by server and worker."""
