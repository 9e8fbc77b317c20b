"""What a table that is larger than memory costs while it is streamed: memory over time, and how fast it is read.

    python tests/benchmarks/parquet_stream.py [--gb 2] [--budget 512MiB] [--workers 2] [--batch 8] [--passes 1.2]

Writes Parquet files of images 224 x 224 x 3 as raw bytes (noise: nothing compresses), and sends them with
`raybench run -s fake --feed stream` until all of it was sent so many times. Prints a line every few seconds with the
resident memory of the driver, the workers and the processes that read ahead, each without what is shared, that of
Ray's object store, and how much was read; and at last what the run itself says.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

RAYBENCH = Path(sys.executable).parent / "raybench"
ITEM_BYTES = 224 * 224 * 3
FILE_ITEMS, GROUP_ITEMS = 2048, 256
EVERY_S = 2.0
PARTS = {"ray::_Worker": "workers", "ray::_Reader": "readers", "raylet": "store", "raybench": "driver"}


def write(folder: Path, items: int) -> None:
    """Items of noise, each another."""
    rng = np.random.default_rng(0)
    schema = pa.schema({"images": pa.binary()})
    for first in range(0, items, FILE_ITEMS):
        with pq.ParquetWriter(folder / f"{first:09}.parquet", schema, compression="none", use_dictionary=False) as file:
            for start in range(first, min(first + FILE_ITEMS, items), GROUP_ITEMS):
                count = min(GROUP_ITEMS, items - start)
                rows = [rng.bytes(ITEM_BYTES) for _ in range(count)]
                file.write_table(pa.table({"images": rows}, schema=schema), row_group_size=count)


def usage(root: psutil.Process) -> tuple[Counter[str], float]:
    """MiB by part of a run, and GB that were read."""
    mib, read_gb = Counter[str](), 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            name = " ".join(process.cmdline()) or process.name()
            part = next((part for word, part in PARTS.items() if word in name.split(" ")[0] or word in name), None)
            if part == "store":
                mib[part] += process.memory_info().shared / 2**20
            elif part:
                about = process.memory_info()
                mib[part] += (about.rss - about.shared) / 2**20
            if part == "readers":
                read_gb += process.io_counters().read_chars / 1e9
        except psutil.Error:
            continue
    return mib, read_gb


def watched(command: list[str]) -> Iterator[str]:
    """A line of what a run uses every few seconds, until it ends; then what it said."""
    began_s, peaks = time.monotonic(), Counter[str]()
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(command, stdout=said, stderr=said) as run:
        root = psutil.Process(run.pid)
        yield f"{'s':>6}{'read GB':>9}" + "".join(f"{part + ' MiB':>13}" for part in PARTS.values())
        while run.poll() is None:
            mib, read_gb = usage(root)
            peaks |= mib
            shown = "".join(f"{mib[part]:13.0f}" for part in PARTS.values())
            yield f"{time.monotonic() - began_s:6.0f}{read_gb:9.2f}{shown}"
            time.sleep(EVERY_S)
        said.seek(0)
        yield "peaks " + ", ".join(f"{part} {peak:.0f} MiB" for part, peak in peaks.items())
        yield said.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=2.0)
    parser.add_argument("--budget", default="512MiB")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--passes", type=float, default=1.2)
    parser.add_argument("--folder", type=Path, help="Where the files are written and deleted.")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="raybench-parquet-", dir=options.folder))
    try:
        (folder / "rows").mkdir()
        items = int(options.gb * 1e9 / ITEM_BYTES)
        write(folder / "rows", items)
        print(f"{items} rows of {ITEM_BYTES} bytes, {options.gb} GB", flush=True)
        command = [
            str(RAYBENCH), "run", "-s", "fake", "--feed", "stream", "--memory-budget", options.budget, "--ui", "plain",
            "--input", str(folder / "rows"), "--shape", "images:224,224,3",
            "-b", str(options.batch), "--workers", str(options.workers), "--out", str(folder / "results"),
            "--request-count", str(int(items * options.passes / options.batch)),
        ]  # fmt: skip
        for line in watched(command):
            print(line, flush=True)
        for summary in folder.glob("results/*/summary.json"):
            print(json.dumps(json.loads(summary.read_text())["trials"][0]["payload"], indent=1))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
