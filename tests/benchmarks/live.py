"""What the live view costs: the same run with --ui live on a terminal, --ui plain and --ui none.

    python tests/benchmarks/live.py [--rounds 5] [--duration 10] [--service-ms 2]

The server is `fake`, so that time is the client's. All runs share one Ray, take turns, and send in a closed loop.
Prints the medians of the CPU seconds of the command, of its workers' CPU seconds and of the requests a second, and by
how much live and plain differ from none in each round.
"""

import argparse
import json
import resource
import sys
import tempfile
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from ray_parts import ray_head
from terminal import on_terminal

KINDS = ("live", "plain", "none")
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Cost:
    command_cpu_s: float
    workers_cpu_s: float
    requests_per_s: float


def measure(kind: str, options: argparse.Namespace, environment: dict[str, str], folder: Path) -> Cost:
    command = [
        str(BIN / "raybench"), "run", "-s", "fake", "--url", f"fake=service_ms={options.service_ms}",
        "--workers", "2", "--concurrency", "2", "-b", "1", "--duration", str(options.duration), "--ui", kind,
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, shown = on_terminal(command, folder, environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert code == 0, shown.decode()
    assert (b"\x1b[?25l" in shown) is (kind == "live"), f"--ui {kind} showed {shown[:200]!r}"
    newest = max((folder / "results").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    (trial,) = json.loads((newest / "summary.json").read_text())["trials"]
    return Cost(
        command_cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        workers_cpu_s=sum(worker["cpu_s"] for worker in trial["workers"]),
        requests_per_s=trial["throughput"]["requests_per_s"],
    )


def table(costs: dict[str, list[Cost]]) -> None:
    print("| --ui | command CPU s | workers CPU s | requests/s |\n|---|---|---|---|")
    for kind, rows in costs.items():
        print("| {} | {:.2f} | {:.2f} | {:.1f} |".format(kind, *map(median, zip(*map(astuple, rows), strict=True))))
    for kind in KINDS[:2]:
        pairs: list[Any] = list(zip(costs[kind], costs["none"], strict=True))
        more = [a.command_cpu_s - b.command_cpu_s for a, b in pairs]
        workers = [a.workers_cpu_s - b.workers_cpu_s for a, b in pairs]
        rate = [a.requests_per_s / b.requests_per_s - 1 for a, b in pairs]
        print(
            f"{kind} - none, medians of {len(pairs)} rounds (least to most): command {median(more):+.2f} s "
            f"({min(more):+.2f} to {max(more):+.2f}), workers {median(workers):+.2f} s ({min(workers):+.2f} to "
            f"{max(workers):+.2f}), requests/s {median(rate):+.2%} ({min(rate):+.2%} to {max(rate):+.2%})"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", type=int, default=10)
    parser.add_argument("--service-ms", type=float, default=2)
    options = parser.parse_args()
    flags = ["--num-cpus=4", "--include-dashboard=false"]
    with tempfile.TemporaryDirectory() as home, ray_head(Path(home), flags, {}) as environment:
        costs: dict[str, list[Cost]] = {kind: [] for kind in KINDS}
        measure("none", options, environment, Path(home))  # fills the caches
        for number in range(options.rounds):
            for kind in KINDS[:: 1 if number % 2 else -1]:
                costs[kind].append(measure(kind, options, environment, Path(home)))
        table(costs)


if __name__ == "__main__":
    main()
