"""Do waits follow queueing theory? Poisson arrivals to a real Triton whose model takes 20 ms, one request at a time.

    python tests/benchmarks/queueing.py [--loads 0.3,0.5,0.7] [--seconds 60] [--rounds 5] [--seed 0]

A queue with Poisson arrivals, a fixed service time s and one server, M/D/1, has the mean wait load x s / (2 - 2 load):
the Pollaczek-Khinchine formula (Kleinrock, Queueing Systems, vol. 1, chapter 5). Triton gets a python model that
sleeps and then spins to 20 ms, in one instance; `raybench run` sends open loops of one worker. The wait is the mean
response less that at 10 constant arrivals a second, which never meet; s is what Triton's own statistics call compute.
Every round has arrivals of its own, and gives one wait; beside their mean and its 95 % interval stands the wait that a
server of exactly s would have given to the very same arrivals (Lindley's recursion), where chance is the same on both
sides.
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
import pyarrow.parquet as pq
import tritonclient.grpc as triton_grpc
import yaml

from raybench.analysis.cells import interval
from raybench.results import samples
from raybench.servers.triton_server import TritonOptions, running_triton

RAYBENCH = Path(sys.executable).parent / "raybench"
SERVICE_S = 0.020
IDLE_RPS = 10.0
IDLE_SECONDS = 5.0
COMPUTE = ("compute_input", "compute_infer", "compute_output")
MODEL = f"""
import time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer() for _ in requests]

    def answer(self):
        done = time.perf_counter() + {SERVICE_S}
        time.sleep({SERVICE_S} - 0.002)
        while time.perf_counter() < done:
            pass
        return pb_utils.InferenceResponse([pb_utils.Tensor("count", np.array([[1]], np.int64))])
"""
CONFIG = {
    "backend": "python",
    "max_batch_size": 1,
    "instance_group": [{"count": 1, "kind": "KIND_CPU"}],
    "input": [
        {"name": "model_name", "data_type": "TYPE_STRING", "dims": [1]},
        {"name": "signature", "data_type": "TYPE_STRING", "dims": [1]},
        {"name": "images", "data_type": "TYPE_UINT8", "dims": [-1, -1, -1, 3]},
    ],
    "output": [{"name": "count", "data_type": "TYPE_INT64", "dims": [1]}],
}


def benchmark(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """The YAML: the idle server, and each load."""
    rates = [float(load) / SERVICE_S for load in options.loads.split(",")]
    idle = {"request_rate": [IDLE_RPS], "request_distribution": "constant", "duration": IDLE_SECONDS}
    loads = [idle, {"request_rate": rates, "duration": options.seconds}]
    server = {"server": "triton", "url": {"triton": url}, "model": "fixed", "verify": False, "calibrate": False}
    shared = {"workers": 1, "batch_size": 1, "images": "noise", "warmup_request_count": 10, "ui": "none"}
    return {**server, **shared, "rounds": options.rounds, "seed": options.seed, "loads": loads}


def trials(plan: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Each trial of one run, with its due times."""
    (folder / "queueing.yaml").write_text(yaml.safe_dump(plan))
    command = [RAYBENCH, "run", "queueing.yaml"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (results,) = (folder / "results").iterdir()
    for trial in json.loads((results / "summary.json").read_text())["trials"]:
        assert trial["requests"]["failed"] == 0, trial["requests"]
        rows = samples.measured(pq.read_table(results / "samples" / f"{trial['id']}.parquet"))
        yield {**trial, "due_s": np.sort(samples.ns(rows, "due_ns")) / 1e9}


def compute_ms(trial: dict[str, Any]) -> float:
    return sum(trial["server_time_ms"][stage] for stage in COMPUTE)


def lindley_ms(due_s: np.ndarray, service_s: float) -> float:
    """The mean wait of these arrivals at a server that takes exactly so long: each begins when that before is done."""
    before_s = np.arange(len(due_s)) * service_s
    return float((np.maximum.accumulate(due_s - before_s) + before_s - due_s).mean()) * 1e3


def row(rate: float, loaded: list[dict[str, Any]], idle_ms: dict[int, float]) -> str:
    waits = [trial["response_ms"]["mean"] - idle_ms[trial["round"]] for trial in loaded]
    s_ms = float(np.mean([compute_ms(trial) for trial in loaded]))
    load = rate * s_ms / 1e3
    predicted_ms = load * s_ms / (2 * (1 - load))
    same_ms = float(np.mean([lindley_ms(trial["due_s"], s_ms / 1e3) for trial in loaded]))
    found = interval(waits)
    half = (found.high - found.low) / 2 if found.high else float("nan")
    count = sum(len(trial["due_s"]) for trial in loaded)
    measured = f"{found.mean:.2f} ± {half:.2f} | {predicted_ms:.2f} | {found.mean / predicted_ms:.3f}"
    return f"| {load:.1%} | {count} | {s_ms:.2f} | {measured} | {same_ms:.2f} | {found.mean / same_ms:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loads", default="0.3,0.5,0.7")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with running_triton(TritonOptions(models_conf=Path(), models=())) as triton, tempfile.TemporaryDirectory() as out:
        with triton_grpc.InferenceServerClient(triton.grpc_url) as client:
            client.load_model("saved_model", config=json.dumps(CONFIG), files={"file:1/model.py": MODEL.encode()})
        found = list(trials(benchmark(triton.grpc_url, options), Path(out)))
    rates = sorted({trial["load"]["offered_rps"] for trial in found} - {IDLE_RPS})
    by_rate = {rate: [trial for trial in found if trial["load"]["offered_rps"] == rate] for rate in [IDLE_RPS, *rates]}
    idle_ms = {trial["round"]: trial["response_ms"]["mean"] for trial in by_rate[IDLE_RPS]}
    print(f"idle: response {np.mean(list(idle_ms.values())):.2f} ms")
    print("| load | requests | s ms | wait ms | M/D/1 ms | ratio | same arrivals ms | ratio |")
    print("|---:" * 8 + "|")
    for rate in rates:
        print(row(rate, by_rate[rate], idle_ms))


if __name__ == "__main__":
    main()
