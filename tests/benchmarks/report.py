"""How long does a report of many samples take? `raybench report` on 10 million of them.

    python tests/benchmarks/report.py [--samples 10000000] [--trials 1,10]

Writes results folders as a run does, with so many trials that have the samples together: Poisson arrivals over 4
workers of 16 lanes. Then `raybench report DIR` reads each. Prints a row for each folder: its size on disk, and wall
time, CPU time and peak memory of the command, the start of Python included.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa

from raybench.results import results_folder, samples

sys.path.append(str(Path(__file__).parents[1] / "support"))
from helpers import OPEN, observed, results
from record_builders import load, worker_facts

RAYBENCH = Path(sys.executable).parent / "raybench"
WORKERS, LANES, RATE_RPS = 4, 16, 10_000.0
MEAN_SERVICE_MS = 3.0
LOAD = load(**{**OPEN, "workers": WORKERS, "in_flight": WORKERS * LANES, "offered_rps": RATE_RPS})
CHUNK_NS = 500_000_000


@dataclass(frozen=True)
class Spent:
    """What one command took."""

    wall_s: float
    cpu_s: float
    peak_gb: float


def open_loop(count: int, seed: int) -> pa.Table:
    """Samples of a trial in the order in which a run gets them: every half second a chunk of each worker."""
    rng = np.random.default_rng(seed)
    due_ns = np.cumsum(rng.exponential(1e9 / RATE_RPS, count)).astype(np.int64)
    late_ns = rng.integers(0, 20_000, count)
    service_ns = rng.gamma(4.0, MEAN_SERVICE_MS * 1e6 / 4, count).astype(np.int64)
    number = np.arange(count)
    woke_ns = late_ns + begins(due_ns, late_ns + service_ns)
    columns = {
        "worker": number % WORKERS,
        "lane": number // WORKERS % LANES,
        "seq": number // WORKERS,
        "phase": label(samples.MEASURED, count),
        "payload": number % 2,
        "due_ns": due_ns,
        "woke_ns": woke_ns,
        "sent_ns": woke_ns,
        "done_ns": woke_ns + service_ns,
        "items": np.ones(count, np.int32),
        "sent_bytes": np.full(count, 150_000),
        "received_bytes": np.full(count, 4_000),
        "status": label(samples.OK, count),
        "error": pa.nulls(count, samples.SCHEMA.field("error").type),
    }
    rows = pa.table([pa.array(columns[field.name]).cast(field.type) for field in samples.SCHEMA], samples.SCHEMA)
    return rows.take(np.lexsort((columns["worker"], columns["done_ns"] // CHUNK_NS)))


def begins(due_ns: np.ndarray, taken_ns: np.ndarray) -> np.ndarray:
    """When each request begins: when it is due and the one before on its lane is done (Lindley's recursion)."""
    begin_ns = np.empty_like(due_ns)
    for first in range(WORKERS * LANES):
        mine = slice(first, None, WORKERS * LANES)
        before = np.cumsum(taken_ns[mine]) - taken_ns[mine]
        begin_ns[mine] = np.maximum.accumulate(due_ns[mine] - before) + before
    return begin_ns


def label(text: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), [text])


def folder(out: Path, count: int, trials: int) -> Path:
    workers = [worker_facts(number, clock_offset_ns=1000 * number) for number in range(WORKERS)]
    made = results(out)
    for number in range(1, trials + 1):
        results_folder.save(
            made, observed(open_loop(count // trials, number), load=LOAD, workers=workers, round=number)
        )
    return made


def made_apart(out: Path, count: int, trials: int) -> Path:
    """Made by another process: what a command's peak memory counts begins with that of the process that forks it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(folder, out, count, trials).result()


def reported(folder: Path) -> Spent:
    began = time.perf_counter()
    process = subprocess.Popen([RAYBENCH, "report", folder], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, f"raybench report ended with status {status}"
    return Spent(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9)


def rows(count: int, trials: list[int]) -> Iterator[str]:
    for number in trials:
        with tempfile.TemporaryDirectory() as out:
            made = made_apart(Path(out), count, number)
            size_mb = sum(path.stat().st_size for path in made.rglob("*.parquet")) / 1e6
            spent = reported(made)
        times = f"{spent.wall_s:.1f} | {spent.cpu_s:.1f}"
        yield f"| {number} x {count // number:,} | {size_mb:.0f} | {times} | {spent.peak_gb:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--trials", default="1,10")
    options = parser.parse_args()
    print("| trials x samples | MB on disk | wall s | CPU s | peak GB |\n|---|---:|---:|---:|---:|")
    for row in rows(options.samples, [int(each) for each in options.trials.split(",")]):
        print(row, flush=True)


if __name__ == "__main__":
    main()
