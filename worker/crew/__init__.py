"""One job on several devices: the process that owns the job, and helpers that compute parts of its passes."""
