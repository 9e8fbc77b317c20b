"""Does the ledger find memory that is known? A Triton whose python model takes a stated number of MiB of the GPU.

    python tests/benchmarks/gpu_memory.py [--mib 0,512,2048,8192] [--raw DIR]

Needs an NVIDIA GPU that nothing else uses. With 0 MiB the model's process holds a CUDA context and nothing else: the
context's own share, which is taken off the others. Prints a Markdown table: MiB of each process by the ledger, what the
GPU's memory grew by, and what Triton's own page of metrics said beside nvidia-smi. --raw keeps that page and the
telemetry.
"""

import argparse
import os
import shutil
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from allocating import MIB_VARIABLE

from raybench.analysis.costs import memory
from raybench.servers import repository
from raybench.servers.triton_server import TritonOptions, running_triton
from raybench.telemetry import gpu, prometheus_text
from raybench.telemetry.recorder import Recorder, recording
from raybench.telemetry.telemetry_schema import BASELINE, GPU_PROCESS, IDLE, SERVER, by_id, of
from raybench.telemetry.triton_statistics import gpu_rows

READINGS_S = 3.5  # three of the processes, one of Triton's page
ASSEMBLE = repository.assemble


@dataclass(frozen=True)
class Found:
    """MiB: of Triton's own process, of the model's, of the GPU since before the start, and of it by either source."""

    tritonserver: float
    model: float
    server: float
    grew: float
    used: float
    page: float | None


def allocating(*given: Any) -> Path:
    """The repository with an `echo` that takes GPU memory when it is loaded."""
    folder = ASSEMBLE(*given)
    here = folder / "echo" / "1"
    shutil.copy(Path(__file__).with_name("allocating.py"), here)
    model = here / "model.py"
    model.write_text(model.read_text().replace("import numpy", "import allocating  # noqa: F401\nimport numpy", 1))
    return folder


def found(recorder: Recorder, mib: int, raw: Path | None) -> Found:
    os.environ[MIB_VARIABLE] = str(mib)
    recorder.start(BASELINE)
    time.sleep(1)
    recorder.set_phase(IDLE)
    with running_triton(TritonOptions(models_conf=Path(), models=())) as triton:
        recorder.watch(triton.pid)
        time.sleep(READINGS_S)
        recorder.set_phase(None)
        rows = recorder.snapshot().rows
        (page,) = gpu_rows(prometheus_text.fetch(triton.metrics_url) or []) or [{}]
        if raw:
            pq.write_table(rows, raw / f"{mib}.parquet")
            with urllib.request.urlopen(triton.metrics_url, timeout=10) as metrics:
                (raw / f"metrics-{mib}.txt").write_bytes(metrics.read())
    ledger = memory(rows, beside_mib=0.0).ledger
    assert ledger.idle.gpu_server_mib is not None, "nvidia-smi tells of no process of this Triton"
    assert ledger.idle.gpu_mib is not None
    processes = by_name(rows)
    return Found(
        tritonserver=processes.get("tritonserver", 0.0),
        model=processes.get("triton_python_backend_stub", 0.0),
        server=ledger.idle.gpu_server_mib,
        grew=ledger.idle.gpu_mib - (ledger.baseline.gpu_mib or 0.0),
        used=ledger.idle.gpu_mib,
        page=page.get("gpu_used_mib"),
    )


def by_name(rows: pa.Table) -> dict[str, float]:
    """The last reading of each of the server's processes, by the name of its program."""
    last = [one.slice(len(one) - 1).to_pylist()[0] for one in by_id(of(rows, GPU_PROCESS, IDLE))]
    return {Path(row["name"] or "").name: row["gpu_used_mib"] for row in last if row["owner"] == SERVER}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", default="0,512,2048,8192")
    parser.add_argument("--raw", type=Path)
    options = parser.parse_args()
    if not gpu.is_here():
        raise SystemExit(f"no {gpu.NVIDIA_SMI} on PATH: this needs an NVIDIA GPU")
    if options.raw:
        options.raw.mkdir(parents=True, exist_ok=True)
    repository.assemble = allocating
    with recording() as recorder:
        seen = {mib: found(recorder, mib, options.raw) for mib in map(int, options.mib.split(","))}
    context = seen[0].model
    print("| stated | tritonserver | model's process | less its context | off | GPU grew by | GPU used | page says |")
    print("|---" * 8 + "|")
    for mib, one in seen.items():
        less = one.model - context
        off = f"{less / mib - 1:+.1%}" if mib else "-"
        print(
            f"| {mib} | {one.tritonserver:.0f} | {one.model:.0f} | {less:.0f} | {off} | {one.grew:.0f} "
            f"| {one.used:.0f} | {one.page} |"
        )


if __name__ == "__main__":
    main()
