"""Telemetry of one trial -> the conditions under which it was measured; pure."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raybench.analysis.gpu_energy import energy_j
from raybench.analysis.window import Window
from raybench.results.records import ProblemRecord, TelemetryRecord
from raybench.telemetry.telemetry_schema import (
    BASELINE,
    GPU,
    GPU_PROCESS,
    HOST,
    LOAD,
    OTHER,
    PROCESS,
    UNKNOWN,
    WORKER,
    by_id,
    grown_under_load,
    of,
)

_MEDIAN_OF = 5  # readings, a second: one that is off is no drop
_FEWEST = 10


@dataclass(frozen=True, kw_only=True)
class TelemetryProblem:
    """What could not be read; `at_s` is when, after the first request was sent, or before it where negative."""

    at_s: float | None
    source: str
    text: str


@dataclass(frozen=True, kw_only=True)
class HostConditions:
    """None is not known, `node` None that nobody read the server's host.

    `gpu_utilization_pct` is the busiest GPU's mean in the window; `gpu_power_w` the mean power in it of all GPUs of the
    host together, `gpu_energy_j` what they took in it; `gpu_sm_clock_mhz` is the mean SM clock of the busiest GPU, and
    `sm_clock_drop` the largest fall of a GPU's SM clock in it, as a share of the highest before;
    `gpu_shared_with` are processes on the GPUs that are not the server's;
    `swapped_mib` is what the host swapped in and out under load.
    """

    node: str | None
    gpu_source: str | None
    gpu_utilization_pct: float | None
    gpu_power_w: float | None
    gpu_energy_j: float | None
    gpu_sm_clock_mhz: float | None
    sm_clock_drop: float | None
    gpu_shared_with: tuple[str, ...] | None
    swapped_mib: float | None
    problems: tuple[TelemetryProblem, ...]


def host_conditions(
    facts: TelemetryRecord | None, rows: pa.Table, window: Window | None, first_sent_ns: int | None
) -> HostConditions | None:
    """Of a trial whose window and first send are on the clock of the rows; None where nothing was recorded."""
    if facts is None:
        return None
    all_of_load = of(rows, GPU, LOAD)
    gpus = by_id(_inside(all_of_load, window))
    return HostConditions(
        node=facts.node,
        gpu_source=facts.gpu_source,
        gpu_utilization_pct=_most(_mean(gpu["gpu_utilization_pct"]) for gpu in gpus),
        gpu_power_w=_total(_mean(gpu["gpu_power_w"]) for gpu in gpus),
        gpu_energy_j=_total(energy_j(gpu, window) for gpu in by_id(all_of_load)),
        gpu_sm_clock_mhz=_busiest_clock_mhz(gpus),
        sm_clock_drop=_most(map(_clock_drop, gpus)),
        gpu_shared_with=_others(rows),
        swapped_mib=grown_under_load(rows, HOST, "swapped_mib"),
        problems=tuple(_problem(problem, first_sent_ns) for problem in facts.problems),
    )


def _problem(problem: ProblemRecord, first_sent_ns: int | None) -> TelemetryProblem:
    at_s = None if first_sent_ns is None else (problem.time_ns - first_sent_ns) / 1e9
    return TelemetryProblem(at_s=at_s, source=problem.source, text=problem.text)


def _inside(rows: pa.Table, window: Window | None) -> pa.Table:
    if window is None:
        return rows.slice(0, 0)
    times = rows["time_ns"]
    return rows.filter(pc.and_(pc.greater_equal(times, window.start_ns), pc.less(times, window.end_ns)))


def _busiest_clock_mhz(gpus: list[pa.Table]) -> float | None:
    """None where no GPU says how busy it is: one that rests has a clock of no work."""
    busy = [
        (pct, _mean(gpu["gpu_sm_clock_mhz"])) for gpu in gpus if (pct := _mean(gpu["gpu_utilization_pct"])) is not None
    ]
    return max(busy, key=lambda each: each[0])[1] if busy else None


def _clock_drop(gpu: pa.Table) -> float | None:
    """While it works: a GPU that rests lowers its clock as it should."""
    busy = gpu.filter(pc.greater(gpu["gpu_utilization_pct"], 0))["gpu_sm_clock_mhz"].drop_null().to_numpy()
    if len(busy) < _FEWEST:
        return None
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(busy, _MEDIAN_OF), axis=1)
    return float(np.max(1 - smooth / np.maximum.accumulate(smooth)))


def _others(rows: pa.Table) -> tuple[str, ...] | None:
    """None without a GPU, and where the server's own processes are not known. A process that is not visible from here
    counts as the server's, unless it was there before. A worker that has regions there is the client."""
    if not len(of(rows, PROCESS, LOAD)) or not len(of(rows, GPU, LOAD)):
        return None
    before = set(of(rows, GPU_PROCESS, BASELINE)["id"].to_pylist())
    workers = set(of(rows, WORKER, LOAD)["id"].to_pylist())
    found = of(rows, GPU_PROCESS, LOAD).select(["id", "name", "owner"]).to_pylist()
    strange = {
        each["id"]: each["name"]
        for each in found
        if each["id"] not in workers and (each["owner"] == OTHER or (each["owner"] == UNKNOWN and each["id"] in before))
    }
    return tuple(f"{name or 'a process'} (pid {pid})" for pid, name in sorted(strange.items()))


def _mean(values: pa.ChunkedArray) -> float | None:
    return pc.mean(values).as_py()


def _total(values: Iterable[float | None]) -> float | None:
    """None where one of them is not known, or there is none."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if known and len(known) == len(found) else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
