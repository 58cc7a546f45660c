"""The store: SQL, and only SQL. One module of queries a resource; none of them commits.

Importing the package imports every table, so that nothing that goes through them all misses one.
"""

from service.store import (
    alias_tables,
    metric_tables,
    prediction_tables,
    profile_tables,
    tables,
    webhook_tables,
    weight_tables,
)

__all__ = [
    "alias_tables",
    "metric_tables",
    "prediction_tables",
    "profile_tables",
    "tables",
    "webhook_tables",
    "weight_tables",
]
