"""What telemetry reads beside a trial: its kinds, phases and Arrow schema. One row is one reading of one thing."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PROCESS = "process"  # the server's process tree; id: pid of its root
WORKER = "worker"  # a worker's process; id: pid
HOST = "host"  # the host of the server; id: its name
GPU = "gpu"  # a GPU of that host; id: uuid
GPU_PROCESS = "gpu_process"  # a process on a GPU; id: pid

# A phase ends with a reading of everything but the GPUs, which have their own pace.
BASELINE = "baseline"  # until the server is started
IDLE = "idle"  # it starts and loads, until it answers and nothing has been sent
WARM = "warm"  # the warm-up, until the gate opens
LOAD = "load"  # from the gate to the last reply
DRAINED = "drained"  # after it
OF_SERVER = (BASELINE, IDLE)

SERVER, OTHER, UNKNOWN = "server", "other", "unknown"  # whose process on a GPU it is

Value = str | float | None  # of one column of a reading; integers count as floats

SCHEMA = pa.schema(
    [
        ("time_ns", pa.int64()),  # of the run's clock, the driver's
        ("kind", pa.string()),
        ("id", pa.string()),
        ("rss_mib", pa.float64()),
        ("cpu_s", pa.float64()),
        ("gpu_used_mib", pa.float64()),  # in use on a GPU, or by a process on it
        ("gpu_utilization_pct", pa.float64()),
        ("phase", pa.string()),
        ("source", pa.string()),  # what said it, of a GPU: nvidia-smi, or a Triton's metrics page
        ("pss_mib", pa.float64()),  # at the end of a phase alone: it holds up the process that is read
        ("host_used_mib", pa.float64()),
        ("swapped_mib", pa.float64()),  # in and out, since the host started
        ("gpu_total_mib", pa.float64()),
        ("gpu_power_w", pa.float64()),
        ("gpu_sm_clock_mhz", pa.float64()),
        ("gpu_temperature_c", pa.float64()),
        ("gpu", pa.string()),  # uuid of the GPU that a process is on
        ("name", pa.string()),
        ("owner", pa.string()),
    ]
)


def of(rows: pa.Table, kind: str, phase: str) -> pa.Table:
    """The readings of a kind in a phase."""
    return rows.filter(pc.and_(pc.equal(rows["kind"], kind), pc.equal(rows["phase"], phase)))


def by_id(rows: pa.Table) -> list[pa.Table]:
    """The readings of each thing, in order of time."""
    return [rows.filter(pc.equal(rows["id"], each)) for each in rows["id"].unique().to_pylist()]


def reduced(rows: pa.Table, column: str, how: Callable[[np.ndarray], float]) -> float | None:
    """What becomes of each thing's values, added up over the things; None where one of them has none."""
    each = [thing[column].drop_null() for thing in by_id(rows)]
    return float(sum(how(values.to_numpy()) for values in each)) if each and all(map(len, each)) else None


def last(values: np.ndarray) -> float:
    return float(values[-1])


def grown_under_load(rows: pa.Table, kind: str, column: str) -> float | None:
    """By how much a counter grew from the gate to the last reply; None too where it fell, for a part of it ended."""
    begin, end = (reduced(of(rows, kind, phase), column, last) for phase in (WARM, LOAD))
    return end - begin if begin is not None and end is not None and end >= begin else None
