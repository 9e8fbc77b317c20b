"""What the CPUs of this host did over a span, and how much of that was for the processes of a run."""

import os
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from raybench.processes import process_tree

_PROC = Path("/proc")
_US = 1e-6


@dataclass(frozen=True, kw_only=True)
class HostLoad:
    """The CPUs of a host from the start of a trial to its end; None is not known.

    `busy_s` are CPU seconds of all processes, `own_s` those of the run's own; `stolen_s` are those that a hypervisor
    gave to others, and `waited_s` the seconds in which some process waited for a CPU. `busy_before` is the share of the
    CPUs that was busy before the start, when neither workers nor server had anything to do.
    """

    seconds: float
    cores: int
    busy_s: float
    own_s: float
    stolen_s: float | None
    waited_s: float | None
    busy_before: float | None


@dataclass(frozen=True)
class _Counters:
    at_s: float
    busy_s: float
    stolen_s: float | None
    waited_s: float | None


class HostCpuMeter:
    """Reads the CPUs of this host and the process trees of some roots, when it is made and when it is asked."""

    def __init__(self, roots: Collection[int], proc: Path = _PROC) -> None:
        self._roots, self._proc = roots, proc
        self._own = _cpu_seconds(roots)
        self._first = self._start = _read(proc)

    def start(self) -> None:
        """What follows is the load; until now the run has waited for it."""
        self._start = _read(self._proc)

    def total(self) -> HostLoad | None:
        """Since the start; None where the host does not say."""
        first, start, end = self._first, self._start, _read(self._proc)
        if first is None or start is None or end is None:
            return None
        now, cores, waited_for_s = _cpu_seconds(self._roots), os.cpu_count() or 1, start.at_s - first.at_s
        return HostLoad(
            seconds=end.at_s - start.at_s,
            cores=cores,
            busy_s=max(0.0, end.busy_s - start.busy_s),
            own_s=sum(max(0.0, cpu_s - self._own.get(process, 0.0)) for process, cpu_s in now.items()),
            stolen_s=_grown(start.stolen_s, end.stolen_s),
            waited_s=_grown(start.waited_s, end.waited_s),
            busy_before=max(0.0, start.busy_s - first.busy_s) / waited_for_s / cores if waited_for_s > 0 else None,
        )


def _grown(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else max(0.0, after - before)


def _read(proc: Path) -> _Counters | None:
    """None where there is no /proc/stat, or another system's."""
    try:
        line = (proc / "stat").read_text(encoding="utf-8").partition("\n")[0].split()
        ticks = [int(value) / os.sysconf("SC_CLK_TCK") for value in line[1:]]
        user, nice, system, _, _, irq, softirq, *more = ticks
    except (OSError, ValueError):
        return None
    busy_s = user + nice + system + irq + softirq  # a guest's time is in the user's: proc(5)
    return _Counters(time.monotonic(), busy_s, more[0] if more else None, _waited_s(proc))


def _waited_s(proc: Path) -> float | None:
    """Of a kernel with pressure stall information, the total of its line `some`."""
    with suppress(OSError, ValueError, IndexError):
        some = (proc / "pressure" / "cpu").read_text(encoding="utf-8").partition("\n")[0]
        return int(some.split("total=")[1]) * _US
    return None


def _cpu_seconds(roots: Collection[int]) -> Mapping[psutil.Process, float]:
    """Of each process in the trees of the roots; psutil tells a process from another that got its pid."""
    found: dict[psutil.Process, float] = {}
    for process in {each for root in roots for each in process_tree(root)}:
        with suppress(psutil.Error):
            found[process] = sum(process.cpu_times()[:2])
    return found
