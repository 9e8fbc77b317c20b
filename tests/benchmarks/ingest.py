"""What a run of many workers costs its driver: the gate, the ingest of samples, and memory.

    python tests/benchmarks/ingest.py [--workers 16,100,1000] [--rate 100000] [--seconds 10] [--skip-run]

First one `raybench run` of 16 `fake` workers that answer in no time: samples/s from end to end. Then the driver alone:
its own gate and gather against streams that bring so many samples/s together, in chunks as workers send them, and cost
next to nothing; many of them share a process, so that there can be a thousand.

Prints a table: how long the clocks took, what was left of the time until the start when the last worker had been told,
how far apart they began, how long after the end the last chunk was in, what the driver spent, and what it grew by
beside the samples that it holds.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import psutil
import pyarrow as pa
import ray

from raybench.analysis.window import gate_skew_ms
from raybench.driver.gather import Gathered, Patience, gather
from raybench.driver.start_barrier import measure_clock, start_times
from raybench.results import samples
from raybench.worker.lanes import CHUNK_ROWS
from raybench.worker.load_worker import chunk_s

RAYBENCH = Path(sys.executable).parent / "raybench"
STREAMS_A_PROCESS = 64


class Many:
    """Workers that only send, as many as there are streams: each so many rows every so many seconds."""

    def __init__(self, rows: int, seconds: float, every_s: float) -> None:
        self._rows, self._seconds, self._every_s = rows, seconds, every_s

    @ray.method(concurrency_group="control")
    def clock_ns(self) -> int:
        return time.time_ns()

    @ray.method(num_returns="streaming")
    def run(self, worker: int, start_at_s: float) -> Iterator[pa.Table]:
        time.sleep(max(0.0, start_at_s - time.time()))
        rows = chunk(worker, time.time_ns(), self._rows)
        for number in range(1, 1 + int(self._seconds / self._every_s)):
            time.sleep(max(0.0, start_at_s + number * self._every_s - time.time()))
            yield from (rows.slice(first, CHUNK_ROWS) for first in range(0, self._rows, CHUNK_ROWS))


def chunk(worker: int, first_ns: int, rows: int) -> pa.Table:
    return samples.table(
        [
            samples.Sample(
                worker=worker,
                lane=0,
                seq=i,
                phase=samples.MEASURED,
                payload=i % 16,
                due_ns=None,
                woke_ns=first_ns + i * 1000,
                sent_ns=first_ns + i * 1000,
                done_ns=first_ns + i * 1000 + 900,
                items=8,
                sent_bytes=1_204_224,
                received_bytes=8,
                status=samples.OK,
                error=None,
            )
            for i in range(rows)
        ]
    )


def measured(workers: int, rate: int, seconds: float) -> str:
    """A row of the table: so many streams through the driver's gate and gather."""
    every_s = chunk_s(workers)
    rows = int(rate * every_s / workers)
    kind: Any = ray.remote(num_cpus=0, max_concurrency=STREAMS_A_PROCESS, concurrency_groups={"control": 2})(Many)
    processes = [kind.remote(rows, seconds, every_s) for _ in range(-(-workers // STREAMS_A_PROCESS))]
    actors = [processes[number % len(processes)] for number in range(workers)]
    ray.get([each.clock_ns.remote() for each in processes])
    driver, gathered = psutil.Process(), Gathered()
    began_s = time.monotonic()
    clocks = [measure_clock(actor) for actor in actors]
    clocks_s = time.monotonic() - began_s
    cpu_before, rss_before = driver.cpu_times(), driver.memory_info().rss
    times = start_times(clocks)
    streams = {actor.run.remote(i, at): i for i, (actor, at) in enumerate(zip(actors, times, strict=True))}
    called_s = time.time()
    chunks: list[int] = []
    gather(
        actors, streams, gathered, Patience(10, 60),
        on_chunk=lambda chunk: chunks.append(len(chunk)), on_loss=lambda: None,
    )  # fmt: skip
    behind_s = time.time() - (times[0] + seconds)
    cpu, rows_in = driver.cpu_times(), samples.merge(gathered.tables)
    cpu_s = cpu.user + cpu.system - cpu_before.user - cpu_before.system
    grown_mib, held_mib = (driver.memory_info().rss - rss_before) / 2**20, rows_in.nbytes / 2**20
    for each in processes:
        ray.kill(each)
    spare_s, skew_ms = times[0] - called_s, gate_skew_ms(rows_in) or 0.0
    return (
        f"| {workers} | {len(rows_in) / seconds:.0f} | {clocks_s:.1f} | {spare_s:.1f} | {skew_ms:.0f} | {behind_s:.1f} "
        f"| {cpu_s / seconds:.2f} | {cpu_s / len(chunks) * 1e3:.2f} | {grown_mib:.0f} of {held_mib:.0f} "
        f"| {len(gathered.lost)} |"
    )


def run(workers: int, seconds: float) -> str:
    """The whole of it: real workers that send to nothing, as fast as they can."""
    command = [RAYBENCH, "run", "-s", "fake", "--url", "fake=service_ms=0", "--workers", workers, "--ui", "none"]
    command += ["--duration", seconds, "-b", 1, "--images", "noise", "--warmup-request-count", 2 * workers]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*map(str, command)], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (summary,) = Path(folder).glob("results/*/summary.json")
        (trial,) = json.loads(summary.read_text())["trials"]
    rate, cpu_s = trial["throughput"]["requests_per_s"], sum(worker["cpu_s"] for worker in trial["workers"])
    return f"{rate:.0f} samples/s from {workers} fake workers, who took {cpu_s / seconds:.2f} cores for them"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", default="16,100,1000")
    parser.add_argument("--rate", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--skip-run", action="store_true")
    options = parser.parse_args()
    if not options.skip_run:
        print(run(16, options.seconds), flush=True)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    print(
        "| workers | samples/s | clocks s | lead left s | skew ms | behind s | driver cores | ms a chunk | grown MiB "
        "| lost |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for workers in map(int, options.workers.split(",")):
        print(measured(workers, options.rate, options.seconds), flush=True)


if __name__ == "__main__":
    main()
