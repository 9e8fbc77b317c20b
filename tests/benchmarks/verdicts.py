"""Are the verdicts honest? Servers that are equal, and one that is slower, by the real command and the fake server.

    python tests/benchmarks/verdicts.py [--comparisons 40] [--rounds 5] [--slower 1.0]

One `raybench run` with two fakes of 20 ms, one of which takes `--slower` times as long; each comparison has a load of
its own. Prints how many show no difference by the verdict of the run, which allows for their number, and how many would
if each were judged alone, where 5 % of equal servers show one by chance. There are 2 x comparisons x rounds trials of
about 3 s each.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

SERVICE_MS = 20.0
MOST_LANES = 8
REQUESTS_A_LANE = 20
TIE = "no difference shown"


def benchmark(comparisons: int, rounds: int, slower: float) -> dict[str, Any]:
    """The YAML: loads that differ in lanes and, beyond 8, in images a request, which cost the fake nothing."""
    lanes = [(i % MOST_LANES + 1, i // MOST_LANES + 1) for i in range(comparisons)]
    loads = [{"concurrency": c, "batch_size": b, "request_count": REQUESTS_A_LANE * c} for c, b in lanes]
    scripts = f"service_ms={SERVICE_MS:g}; service_ms={SERVICE_MS * slower:g}"
    shared = {"server": "fake", "url": {"fake": scripts}, "workers": 1, "images": "noise", "verify": False}
    return {**shared, "rounds": rounds, "loads": loads, "warmup_request_count": 1, "ui": "none"}


def measured(plan: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    (folder / "verdicts.yaml").write_text(yaml.safe_dump(plan))
    subprocess.run([sys.executable, "-m", "raybench", "run", "verdicts.yaml"], cwd=folder, check=True)
    (summary,) = (folder / "results").glob("*/summary.json")
    return list(json.loads(summary.read_text())["comparisons"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--comparisons", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slower", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(benchmark(options.comparisons, options.rounds, options.slower), Path(folder))
    for c in found:
        print(f"{c['ratio']:.4f}  {c['low']:.4f}-{c['high']:.4f}  p {c['p_value']:.3f}  {c['verdict']}")
    ties, alone = sum(c["verdict"] == TIE for c in found), sum(c["p_value"] >= 0.05 for c in found)
    print(f"{ties} of {len(found)} show no difference; {alone} would if each were judged alone")


if __name__ == "__main__":
    main()
