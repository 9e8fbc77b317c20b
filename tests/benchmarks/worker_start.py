"""What a worker costs before it sends: one that talks to TensorFlow Serving beside one that talks to Triton.

    python tests/benchmarks/worker_start.py [--rounds 15]

Each starts Python, imports the worker, makes its client and encodes one batch, as an actor does; the two take turns.
Prints the medians of the time until then and of the memory held, and fails where TensorFlow Serving's are above 1.3
times Triton's. No server is needed: neither client is asked to answer.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import astuple, dataclass
from statistics import median

LIMIT = 1.3
KINDS = ("triton", "tfserving")
WORKER = """
import sys
import numpy as np
import psutil
import raybench.worker
from raybench.clients import connect
from raybench.config import ServerSpec
client = connect(ServerSpec(kind=sys.argv[1]), url="127.0.0.1:1", model="m", signature="s", batch_size=8, models="")
client.encode({"images": np.zeros((8, 224, 224, 3), np.uint8)})
print(psutil.Process().memory_info().rss / 2**20, flush=True)
"""


@dataclass(frozen=True)
class Started:
    ready_s: float
    rss_mib: float


def start(kind: str) -> Started:
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", WORKER, kind], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        rss_mib = float(process.stdout.readline())
        return Started(time.perf_counter() - began, rss_mib)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    found: dict[str, list[Started]] = {kind: [] for kind in KINDS}
    for number in range(rounds + 1):
        for kind in KINDS[:: 1 if number % 2 else -1]:
            found[kind].append(start(kind))
    medians = {
        kind: [median(values) for values in zip(*map(astuple, rows[1:]), strict=True)]  # the first filled the caches
        for kind, rows in found.items()
    }
    print("| worker of | start s | RSS MiB |\n|---|---|---|")
    for kind, (ready_s, rss_mib) in medians.items():
        print(f"| {kind} | {ready_s:.2f} | {rss_mib:.0f} |")
    ratios = [ours / theirs for ours, theirs in zip(medians["tfserving"], medians["triton"], strict=True)]
    print(f"tfserving / triton: start {ratios[0]:.2f}, memory {ratios[1]:.2f}; limit {LIMIT}")
    sys.exit(max(ratios) > LIMIT)


if __name__ == "__main__":
    main()
