"""What files are, by the endings of their names."""

CONTENT_TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".npz": "application/x-npz",
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".zip": "application/zip",
    ".idx": "application/x-idx",
}
