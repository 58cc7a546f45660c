"""What the machine has, and what of it this process may use."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def available_memory(own: Path = OWN_CGROUPS, root: Path = CGROUPS) -> int:
    """Return the bytes of memory that this process may take: the machine's, or less where its control group says so."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(own, root)])


def _limits(own: Path, root: Path) -> Iterator[int]:
    """Yield the limits of the control groups of this process, of both versions, and of those around them."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        folder, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        # In a container the path may be the one outside of it, and the group itself be the root.
        path = PurePosixPath(group).relative_to("/")
        for around in (path, *path.parents):
            try:
                yield int((folder / around / name).read_text())
            except (OSError, ValueError):  # there is none, or it is "max"
                continue
