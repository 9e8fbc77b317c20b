"""Memory and CPU of process trees, and of this host."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from raybench.processes import process_tree

_REFRESH = 10  # readings of a tree between looks for new descendants, which go through every process of the host


@dataclass(frozen=True)
class Usage:
    """Sums over a process tree; MiB and CPU seconds. PSS is None where it was not asked for, or is kept from us."""

    rss_mib: float
    cpu_s: float
    pss_mib: float | None


class Tree:
    """A process and its descendants, or it alone, read again and again."""

    def __init__(self, pid: int, *, is_alone: bool = False) -> None:
        self.pid, self._is_alone = pid, is_alone
        self._processes: list[psutil.Process] = []
        self._age = 0

    def pids(self) -> set[int]:
        return {process.pid for process in self._processes}

    def usage(self, *, with_pss: bool = False) -> Usage | None:
        """What it uses now; None when its root is gone or dead. PSS takes milliseconds, in which its processes wait."""
        if with_pss or self._age % _REFRESH == 0:
            self._processes = _alone(self.pid) if self._is_alone else process_tree(self.pid)
        self._age += 1
        found = list(_usages(self._processes))
        if not found or found[0][0] != self.pid:
            return None
        pids, rss_bytes, cpu_s = zip(*found, strict=True)
        pss_mib = _pss_mib(pids) if with_pss else None
        return Usage(rss_mib=sum(rss_bytes) / 2**20, cpu_s=sum(cpu_s), pss_mib=pss_mib)


@dataclass(frozen=True)
class HostUsage:
    """MiB that are not available to new processes, and that were swapped in and out since the host started."""

    used_mib: float
    swapped_mib: float


def await_ends(pids: Iterable[int], timeout_s: float) -> None:
    """Return when these processes have ended, or after so long."""
    psutil.wait_procs([each for pid in pids for each in _alone(pid)], timeout=timeout_s)


def host_usage() -> HostUsage:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return HostUsage((memory.total - memory.available) / 2**20, (swap.sin + swap.sout) / 2**20)


def pss_mib(pid: int) -> float | None:
    """Proportional set size of one process: its own pages, and its share of those that it shares; None is not known."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("Pss:")), None)


def _alone(pid: int) -> list[psutil.Process]:
    """One process without its descendants: looking for those goes through every process of the host."""
    with suppress(psutil.NoSuchProcess):
        return [psutil.Process(pid)]
    return []


def _usages(processes: list[psutil.Process]) -> Iterator[tuple[int, int, float]]:
    """Pid, RSS in bytes and CPU seconds of each that is there."""
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            rss_bytes = process.memory_info().rss
            if rss_bytes:  # the dead have none
                yield process.pid, rss_bytes, sum(process.cpu_times()[:2])


def _pss_mib(pids: tuple[int, ...]) -> float | None:
    each = [pss_mib(pid) for pid in pids]
    return sum(known) if len(known := [mib for mib in each if mib is not None]) == len(each) else None
