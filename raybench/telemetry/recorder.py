"""Telemetry rows of one trial, taken twice a second beside it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from raybench.telemetry import gpu
from raybench.telemetry.process import tree_usage

_INTERVAL_S = 0.5

# kind is process (id: pid; rss_mib, cpu_s of its tree) or gpu (id: uuid; gpu_used_mib, gpu_utilization_pct)
SCHEMA = pa.schema(
    [
        ("time_ns", pa.int64()),
        ("kind", pa.string()),
        ("id", pa.string()),
        ("rss_mib", pa.float64()),
        ("cpu_s", pa.float64()),
        ("gpu_used_mib", pa.float64()),
        ("gpu_utilization_pct", pa.float64()),
    ]
)
_Row = dict[str, object]


class Recorder:
    """Rows so far; `table()` is safe to call at any time."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []

    def add(self, kind: str, id: str, **values: float | None) -> None:
        self._rows.append({"time_ns": time.time_ns(), "kind": kind, "id": id, **values})

    def table(self) -> pa.Table:
        return pa.Table.from_pylist(list(self._rows), schema=SCHEMA)


@contextmanager
def recording(pid: int | None) -> Iterator[Recorder]:
    """Record the process tree of `pid`, where there is one on this host, and this host's GPUs."""
    recorder, stop = Recorder(), threading.Event()
    with gpu.readings(int(_INTERVAL_S * 1e3)) as lines:
        threads = [threading.Thread(target=_record_process, args=(recorder, pid, stop), daemon=True)] if pid else []
        if lines is not None:
            threads.append(threading.Thread(target=_record_gpus, args=(recorder, lines), daemon=True))
        for thread in threads:
            thread.start()
        try:
            yield recorder
        finally:
            stop.set()
    for thread in threads:
        thread.join(timeout=5)


def _record_process(recorder: Recorder, pid: int, stop: threading.Event) -> None:
    while True:
        if (usage := tree_usage(pid)) is not None:
            recorder.add("process", str(pid), rss_mib=usage[0], cpu_s=usage[1])
        if stop.wait(_INTERVAL_S):
            return


def _record_gpus(recorder: Recorder, lines: Iterator[gpu.GpuReading]) -> None:
    for reading in lines:
        recorder.add("gpu", reading.uuid, gpu_used_mib=reading.used_mib, gpu_utilization_pct=reading.utilization_pct)
