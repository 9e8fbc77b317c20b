"""What this process may use of its host: its affinity, and what a container leaves of it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
# Names in cgroup v2, then in v1: the limit, what is used, and the line of memory.stat that could be given back.
_MEMORY = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def cores() -> float:
    """The cores that this process may use at once: by its affinity, and by the quota of its container."""
    return min([len(os.sched_getaffinity(0)), *map(cpu_quota, cgroups("cpu"))])


def available_mib() -> float:
    """The memory available without swapping: on the host, and within the limit of its container."""
    left = min(map(memory_left, cgroups("memory")), default=inf)
    return min(psutil.virtual_memory().available, left) / 2**20


def cgroups(controller: str, membership: str | None = None, root: Path = _CGROUPS) -> Iterator[Path]:
    """The folders whose limits hold for this process: its own and those above.

    In a container the path in /proc may be the host's; then only the root of the mount is there to be read.
    """
    for line in (
        Path("/proc/self/cgroup").read_text(encoding="utf-8") if membership is None else membership
    ).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            base = root / controller if controllers else root
            own = base / path.strip("/")
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(base))


def cpu_quota(folder: Path) -> float:
    """The cores that a cgroup, v2 or v1, may use at once; infinite without a limit."""
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota_us = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
        return quota_us / int((folder / "cpu.cfs_period_us").read_text(encoding="utf-8")) if quota_us > 0 else inf
    return inf


def memory_left(folder: Path) -> float:
    """The bytes that a cgroup, v2 or v1, may still take; infinite without a limit."""
    for limit, used, reclaimable in _MEMORY:
        with suppress(OSError, ValueError):
            cap, taken = (int((folder / name).read_text(encoding="utf-8")) for name in (limit, used))
            statistics = dict(
                line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
            )
            return cap - taken + int(statistics.get(reclaimable, 0))
    return inf
