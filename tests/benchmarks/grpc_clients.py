"""Do the numbers hang on our own gRPC client? p50 by it and by grpcio, in paired rounds of one run.

    python tests/benchmarks/grpc_clients.py [--in-flight 1,4,32] [--rounds 7] [--seconds 4]

Triton gets a python model that sleeps for 20 ms, in an instance for each request in flight, and one that returns at
once. `raybench run --client http2 --client grpcio` loads both with requests of 1 KB. Of each round's two p50 the ratio
is taken; printed are their mean and its 95 % interval, and what the p50 differ by.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from raybench.analysis.cells import interval

sys.path.append(str(Path(__file__).parents[1] / "support"))
from own_triton import own_triton

_MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        time.sleep({sleep_s})
        one = pb_utils.Tensor("y", np.zeros((1, 1), np.float32))
        return [pb_utils.InferenceResponse([one]) for _ in requests]
"""
_CONFIG = """
backend: "python"
max_batch_size: 1
instance_group [{{ count: {instances} kind: KIND_CPU }}]
input [{{ name: "x" data_type: TYPE_FP32 dims: [256] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [1] }}]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-flight", default="1,4,32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    in_flight = [int(each) for each in options.in_flight.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "repository"
        write_model(models / "sleeping", sleep_s=0.02, instances=max(in_flight))
        write_model(models / "instant", sleep_s=0.0, instances=1)
        with own_triton(models) as triton:
            summary = measured(Path(folder), triton.url, in_flight, options.rounds, options.seconds)
    print("| model | in flight | http2 p50 ms | grpcio p50 ms | grpcio / http2 | 95 % interval |")
    print("|---|---|---|---|---|---|")
    for row in rows(summary):
        print(f"| {row} |")


def write_model(folder: Path, *, sleep_s: float, instances: int) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(_MODEL.format(sleep_s=sleep_s))
    (folder / "config.pbtxt").write_text(_CONFIG.format(instances=instances))


def measured(folder: Path, url: str, in_flight: list[int], rounds: int, seconds: float) -> dict[str, Any]:
    """The summary of one run with every model, client and number in flight in each of its rounds."""
    asked = {
        "server": ["triton"],
        "url": {"triton": url},
        "layout": ["per-model"],
        "client": ["http2", "grpcio"],
        "model": ["sleeping", "instant"],
        "batch_size": 1,
        "duration": seconds,
        "warmup_timeout": 1,
        "rounds": rounds,
        "verify": False,
        "loads": [{"workers": 1, "concurrency": each} for each in in_flight],
    }
    (folder / "clients.yaml").write_text(yaml.safe_dump(asked))
    command = [sys.executable, "-m", "raybench", "run", str(folder / "clients.yaml"), "--out", str(folder / "out")]
    subprocess.run([*command, "--ui", "plain"], check=True, stdout=subprocess.DEVNULL)
    (results,) = (folder / "out").iterdir()
    return dict(json.loads((results / "summary.json").read_text()))


def rows(summary: dict[str, Any]) -> Iterator[str]:
    p50 = {
        (each["model"]["name"], each["load"]["concurrency"], each["load"]["client"], each["round"]): each["service_ms"][
            "p50"
        ]
        for each in summary["trials"]
    }
    for model, lanes in sorted({key[:2] for key in p50}, reverse=True):
        rounds = sorted({key[3] for key in p50})
        ours, theirs = ([p50[model, lanes, client, each] for each in rounds] for client in ("http2", "grpcio"))
        found = interval([theirs[n] / ours[n] for n in range(len(rounds))])
        medians = f"{np.median(ours):.3f} | {np.median(theirs):.3f}"
        yield f"{model} | {lanes} | {medians} | {found.mean:.3f} | {found.low:.3f}-{found.high:.3f}"


if __name__ == "__main__":
    main()
