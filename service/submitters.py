"""Who a job belongs to: a name that requests carry, so that everybody gets their turn. It is no proof of anything."""

HEADER = "X-Trainyard-Submitter"
ANONYMOUS = "anonymous"
"""Who submits without saying who."""
SUBMITTER_PATTERN = r"^[!-~]([ -~]{0,198}[!-~])?$"
"""1 to 200 printable ASCII characters, as headers can carry them; no space at either end."""
