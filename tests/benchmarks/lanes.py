"""Does it matter how lanes are spread? 4 workers of 1 lane against 1 worker of 4, on a model that does nothing.

    python tests/benchmarks/lanes.py [--rounds 5] [--seconds 3] [--images 1,16,100]

One `raybench run` in closed loop against the model `echo` of one real Triton, with requests of so many images of
224x224x3: both ways in every round, in shuffled order. Prints the mean requests/s of each with the workers' CPU per
request, and of the ratios of the rounds the geometric mean with its 95 % interval.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from raybench.analysis.cells import interval
from raybench.config import ECHO
from raybench.servers.triton_server import TritonOptions, running_triton

RAYBENCH = Path(sys.executable).parent / "raybench"
SPREAD, TOGETHER = {"workers": 4, "concurrency": 1}, {"workers": 1, "concurrency": 4}


def benchmark(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """The YAML: both ways with each number of images."""
    sizes = [int(size) for size in options.images.split(",")]
    loads = [{**way, "batch_size": size, "duration": options.seconds} for size in sizes for way in (SPREAD, TOGETHER)]
    server = {"server": "triton", "url": {"triton": url}, "model": ECHO, "images": "noise"}
    return {**server, "rounds": options.rounds, "loads": loads, "ui": "none"}


def trials(plan: dict[str, Any]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "lanes.yaml").write_text(yaml.safe_dump(plan))
        subprocess.run([RAYBENCH, "run", "lanes.yaml"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (summary,) = Path(folder).glob("results/*/summary.json")
        found = json.loads(summary.read_text())["trials"]
    assert not any(trial["requests"]["failed"] for trial in found)
    return sorted(found, key=lambda trial: (trial["load"]["batch_size"], trial["round"]))


def rate(trial: dict[str, Any]) -> float:
    return trial["throughput"]["requests_per_s"]


def cell(several: list[dict[str, Any]]) -> str:
    cpu_s = sum(worker["cpu_s"] for trial in several for worker in trial["workers"])
    requests = sum(trial["requests"]["attempted"] for trial in several)
    return f"{np.mean([rate(trial) for trial in several]):.4g} /s, {cpu_s / requests * 1e3:.2f} ms CPU"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--images", default="1,16,100")
    options = parser.parse_args()
    with running_triton(TritonOptions(models_conf=Path(), models=())) as triton:
        found = trials(benchmark(triton.grpc_url, options))
    print("| images | 4 workers x 1 lane | 1 worker x 4 lanes | 4 x 1 / 1 x 4 | rounds |\n|---:|---|---|---|---|")
    for size in sorted({trial["load"]["batch_size"] for trial in found}):
        mine = [trial for trial in found if trial["load"]["batch_size"] == size]
        spread, together = ([trial for trial in mine if trial["load"]["workers"] == n] for n in (4, 1))
        ratios = np.array([rate(a) / rate(b) for a, b in zip(spread, together, strict=True)])
        logs = interval(np.log(ratios))
        bounds = f" ({np.exp(logs.low):.2f}-{np.exp(logs.high):.2f})" if logs.low is not None else ""
        each = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {size} | {cell(spread)} | {cell(together)} | {np.exp(logs.mean):.2f}{bounds} | {each} |")


if __name__ == "__main__":
    main()
