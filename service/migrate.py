"""`python -m service.migrate`: bring the database of these settings up to date."""

import sys

from service.errors import TrainyardError
from service.settings import Settings
from service.store.schema import upgrade


def main() -> int:
    """Migrate, and return the exit code."""
    try:
        upgrade(Settings().effective_database_url)
    except TrainyardError as error:
        print(f"trainyard: {error.message}", file=sys.stderr)
        return 1
    print("the database is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
