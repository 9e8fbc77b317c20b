"""GPU memory and utilization from one long-lived nvidia-smi."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf

from raybench.guardian import guarded
from raybench.servers.process import stop

_STOP_S = 5.0
_QUERY = "uuid,memory.used,utilization.gpu"


@dataclass(frozen=True)
class GpuReading:
    """One line of nvidia-smi; None where it says [N/A]."""

    uuid: str
    used_mib: float | None
    utilization_pct: float | None


@contextmanager
def readings(interval_ms: int) -> Iterator[Iterator[GpuReading] | None]:
    """A stream of readings of every GPU of this host until the block ends; None where there is no nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        yield None
        return
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits", f"--loop-ms={interval_ms}"]
    process = subprocess.Popen(guarded(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield (reading for line in process.stdout or () if (reading := parse(line)))
    finally:
        stop(process, _STOP_S)  # a driver that hangs keeps its nvidia-smi from heeding SIGTERM


def parse(line: str) -> GpuReading | None:
    """One CSV line of _QUERY without units; None for a line that is not one, such as a driver's error."""
    parts = [part.strip() for part in line.split(",")]
    if len(parts) != 3 or not parts[0].startswith(("GPU-", "MIG-")):
        return None
    return GpuReading(parts[0], _number(parts[1]), _number(parts[2]))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < inf else None
