"""Does a search find what queueing theory gives? Simulated servers in virtual time, and `fake` in real time.

    python tests/benchmarks/search.py [--seeds 2] [--real 0]

M/D/1 and M/M/c, with p50, p90 and p99 within limits of 2 to 30 service times: each is searched as `raybench search`
does it, by its own strategy and evaluation, against a simulated server (`tests/support/virtual_search.py`). Prints what
was found over what theory gives, and over what the server can do at most. `--real N` makes the first N searches of the
servers with one place with the real command too, against the fake server.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from virtual_search import Server, goal_of, rate_in_theory, searched

from raybench.analysis.search.strategy import step_s

RAYBENCH = Path(sys.executable).parent / "raybench"
SERVERS = [
    Server("constant", 0.005, 1),
    Server("exponential", 0.02, 1),
    Server("exponential", 0.005, 4),
    Server("exponential", 0.02, 16),
]
THRESHOLDS = [("p50", 2), ("p50", 5), ("p90", 5), ("p90", 30), ("p99", 10)]  # a limit in service times


@dataclass(frozen=True)
class Found:
    """A search's answer as a share of what theory gives, and of what the server can do; seconds of its steps."""

    name: str
    of_theory: float
    of_capacity: float
    points: int
    seconds: float


def virtual(job: tuple[Server, tuple[str, int], int]) -> Found:
    server, (percentile, times), seed = job
    limit_s, capacity = times * server.mean_s, server.capacity_rps
    low = capacity * (0.06 + 0.007 * seed)  # other seeds meet other rates
    goal = goal_of(percentile, limit_s * 1e3, low, 4 * capacity)
    found = searched(goal, server, seed=seed)
    seconds = sum(step_s(goal, each.value, workers=1, round=each.round) for each in found.points)
    held = found.feasible_max if found.is_over and found.feasible_max else float("nan")
    theory = rate_in_theory(server, percentile, limit_s)
    return Found(_name(server, percentile, limit_s), held / theory, held / capacity, len(found.points), seconds)


def real(count: int) -> Iterator[Found]:
    for server, (percentile, times) in list(product(SERVERS[:2], THRESHOLDS))[:count]:
        limit_s, capacity = times * server.mean_s, server.capacity_rps
        script = f"service_ms={server.mean_s * 1e3:g},at_once={server.at_once},times={server.times}"
        with tempfile.TemporaryDirectory() as out:
            command = [
                RAYBENCH, "search", "-s", "fake", "--url", f"fake={script}", "--workers", "1", "-b", "1",
                "--images", "noise", "--ui", "none", "--warmup-request-count", "0", "--out", out,
                "--latency-threshold", f"{percentile}<{limit_s * 1e3:g}ms",
                "--request-rate-range", f"{capacity / 4:g}:{2 * capacity:g}",
            ]  # fmt: skip
            subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
            (path,) = Path(out).glob("*/summary.json")
            summary = json.loads(path.read_text())
        (found,) = summary["search"]
        if found["reason"]:
            print(f"  {found['reason']}")
        held = found["feasible_max"] if found["is_over"] and found["feasible_max"] else float("nan")
        seconds = sum(trial["job_s"] or 0 for trial in summary["trials"])
        theory = rate_in_theory(server, percentile, limit_s)
        yield Found(_name(server, percentile, limit_s), held / theory, held / capacity, len(found["points"]), seconds)


def _name(server: Server, percentile: str, limit_s: float) -> str:
    kind = "D" if server.times == "constant" else "M"
    return f"M/{kind}/{server.at_once} of {server.mean_s * 1e3:g} ms, {percentile}<{limit_s * 1e3:g}ms"


def row(found: Found) -> str:
    return f"| {found.name} | {found.of_theory:.3f} | {found.of_capacity:.3f} | {found.points} | {found.seconds:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--real", type=int, default=0)
    options = parser.parse_args()
    print("| server and threshold | found / theory | found / capacity | points | seconds |\n|---|---:|---:|---:|---:|")
    with ProcessPoolExecutor() as pool:
        all_found = list(pool.map(virtual, product(SERVERS, THRESHOLDS, range(options.seeds))))
    for found in all_found:
        print(row(found))
    for found in real(options.real):
        print(row(found), "real", flush=True)
    ratios = np.array([each.of_theory for each in all_found])
    above, off = sum(each.of_capacity > 1 for each in all_found), sum(not abs(ratio - 1) <= 0.1 for ratio in ratios)
    print(f"{len(ratios)} searches: {ratios.min():.3f} to {ratios.max():.3f} of theory, {off} off by more than 10 %, "
          f"{above} above capacity")  # fmt: skip


if __name__ == "__main__":
    main()
