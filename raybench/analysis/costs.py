"""Telemetry and statistics of one trial -> what its server cost: memory, CPU, time inside; pure."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raybench.results.records import StatisticsRecord, WorkerRecord
from raybench.telemetry.telemetry_schema import (
    BASELINE,
    DRAINED,
    GPU,
    GPU_PROCESS,
    HOST,
    IDLE,
    LOAD,
    PROCESS,
    SERVER,
    WARM,
    grown_under_load,
    last,
    of,
    reduced,
)

_STAGES = ("queue", "compute_input", "compute_infer", "compute_output")
_COARSEST = 0.02  # of the service time
_LEAST_CPU_S = 0.2  # the kernel counts in steps of 10 ms


@dataclass(frozen=True, kw_only=True)
class MemoryMoment:
    """Memory at one moment, MiB; None is not known.

    `rss_mib` and `pss_mib` of the server's process tree, `host_mib` in use on its host, `gpu_mib` in use on that host's
    GPUs, `gpu_server_mib` by the server's processes on them.
    """

    rss_mib: float | None
    pss_mib: float | None
    host_mib: float | None
    gpu_mib: float | None
    gpu_server_mib: float | None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Before the server was started; loaded, before anything was sent; warmed up; under load; after it.

    The properties are what readers look for first: RSS of the server's process tree, and the GPUs' peak.
    """

    baseline: MemoryMoment
    idle: MemoryMoment
    warm: MemoryMoment
    mean: MemoryMoment
    peak: MemoryMoment
    drained: MemoryMoment

    @property
    def peak_mib(self) -> float | None:
        return self.peak.rss_mib

    @property
    def gpu_peak_mib(self) -> float | None:
        return self.peak.gpu_mib


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """CPU seconds under load, of the server's process tree and of the workers; items answered per the former."""

    server_s: float | None
    workers_s: float | None
    items_per_cpu_s: float | None


@dataclass(frozen=True, kw_only=True)
class ServerTime:
    """Where the mean service time of a success went, ms: service is the sum of all others that are known.

    `compute_infer` is the model's own; `compute_input` and `compute_output` are the server's way to it and back, and
    `queue` the wait for it, None where the server does not report it. `overhead` is what is left: the wire,
    gRPC on both sides, and everything else in the server. A backend that hands requests over to a
    pipeline computes on after what Triton calls compute: of such a one that and the rest are None.
    """

    service: float
    overhead: float | None
    queue: float | None
    compute_input: float | None
    compute_infer: float | None
    compute_output: float | None


def memory(rows: pa.Table, *, beside_mib: float | None) -> Memory:
    """The memory of a trial; `beside_mib` is what the server's process holds for the client, once that is encoded.

    None means that it comes and goes: from then on the process's memory is not known.
    """
    return Memory(
        baseline=_held(rows, BASELINE, last),
        idle=_held(rows, IDLE, last),
        warm=_held(rows, WARM, last, beside_mib),
        mean=_held(rows, LOAD, np.mean, beside_mib),
        peak=_held(rows, LOAD, np.max, beside_mib),
        drained=_held(rows, DRAINED, last, beside_mib),
    )


def cpu(rows: pa.Table, workers: tuple[WorkerRecord, ...], items: int) -> Cpu:
    """From the gate to the last reply, in which so many items were answered."""
    server_s = grown_under_load(rows, PROCESS, "cpu_s")
    workers_s = [worker.cpu_s for worker in workers if worker.cpu_s is not None]
    return Cpu(
        server_s=server_s,
        workers_s=sum(workers_s) if workers and len(workers_s) == len(workers) else None,
        items_per_cpu_s=items / server_s if server_s and server_s >= _LEAST_CPU_S and items else None,
    )


def counts_agree(statistics: StatisticsRecord, succeeded: int) -> bool:
    """Whether a server counted the successes of this client and nothing else: then its sums are about them."""
    return statistics.counted.success == succeeded


def server_time(
    statistics: StatisticsRecord | None, service_ns: np.ndarray, *, hands_over: bool = False
) -> ServerTime | None:
    """By the server's own statistics, and the service times of the measured successes.

    None where either is missing, where they are not about the same requests, or where the former come in steps that are
    too coarse or add up to more than the whole.
    """
    if statistics is None or len(service_ns) == 0 or not counts_agree(statistics, len(service_ns)):
        return None
    counted, service = statistics.counted, float(service_ns.mean()) / 1e6
    if counted.step_ns / counted.success / 1e6 > _COARSEST * service:
        return None
    sums_ns = {stage: getattr(counted, f"{stage}_ns") for stage in _STAGES}
    stages = {stage: None if ns is None else ns / counted.success / 1e6 for stage, ns in sums_ns.items()}
    known = [ms for ms in stages.values() if ms is not None]
    if any(ms < 0 for ms in known):
        return None
    if hands_over:
        return ServerTime(service=service, overhead=None, **{**stages, "compute_infer": None, "compute_output": None})
    overhead = service - sum(known)
    return ServerTime(service=service, overhead=overhead, **stages) if overhead >= 0 else None


def _held(
    rows: pa.Table, phase: str, how: Callable[[np.ndarray], float], beside_mib: float | None = 0.0
) -> MemoryMoment:
    tree, processes = of(rows, PROCESS, phase), of(rows, GPU_PROCESS, phase)
    rss_mib = reduced(tree, "rss_mib", how)
    pss_mib = reduced(tree, "pss_mib", how) if how is last else None
    return MemoryMoment(
        rss_mib=None if rss_mib is None or beside_mib is None else rss_mib - beside_mib,
        pss_mib=None if pss_mib is None or beside_mib is None else pss_mib - beside_mib,
        host_mib=reduced(of(rows, HOST, phase), "host_used_mib", how),
        gpu_mib=reduced(of(rows, GPU, phase), "gpu_used_mib", how),
        gpu_server_mib=reduced(processes.filter(pc.equal(processes["owner"], SERVER)), "gpu_used_mib", how),
    )
