"""Do the numbers hang on our own gRPC client? p50 by it and by grpcio, in paired rounds of one run.

    python tests/benchmarks/grpc_clients.py [--in-flight 1,4,32] [--rounds 7] [--seconds 4] [--out FOLDER]

Triton gets a python model that sleeps for 20 ms, in an instance for each request in flight, and one that returns at
once. `raybench run --client http2 --client grpcio` loads both with requests of 1 KB. Of each round's two p50 the ratio
is taken; printed are its geometric mean with the 95 % interval, and the mean p50 of either client over the same rounds.

A round counts where both clients have a p50. What gave none is named below the table, with the reason, and the exit
status is then 1. With --out the results folder stays, and `--table FOLDER/RESULTS` prints its table again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from paired_ratio import paired_ratio, written

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


_CLIENTS = ("http2", "grpcio")
_START_S = 400  # 33 processes that import numpy, on two cores that others use


@dataclass(frozen=True)
class Measured:
    """One trial: the p50 of its service time in ms; None has a `reason`."""

    model: str
    in_flight: int
    client: str
    round: int
    p50_ms: float | None
    reason: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-flight", default="1,4,32", type=lambda text: [int(each) for each in text.split(",")])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the results folder stays")
    parser.add_argument(
        "--table", type=Path, metavar="RESULTS", help="print the table of a results folder, and no more"
    )
    options = parser.parse_args()
    if options.table:
        return show(read(options.table))
    with tempfile.TemporaryDirectory() if options.out is None else nullcontext(options.out) as folder:
        results = measure(Path(folder), options)
        return show(read(results))


def measure(folder: Path, options: argparse.Namespace) -> Path:
    """The results folder of one run with every model, client and number in flight in each of its rounds."""
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch)
        write_model(models / "sleeping", sleep_s=0.02, instances=max(options.in_flight))
        write_model(models / "instant", sleep_s=0.0, instances=1)
        with own_triton(models, start_s=_START_S) as triton:
            return run(folder, triton.url, options)


def write_model(folder: Path, *, sleep_s: float, instances: int) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(_MODEL.format(sleep_s=sleep_s))
    (folder / "config.pbtxt").write_text(_CONFIG.format(instances=instances))


def run(folder: Path, url: str, options: argparse.Namespace) -> Path:
    """The folder that `raybench run` leaves; it exits with 1 or 5 where a trial failed, which the table then says."""
    asked = {
        "server": ["triton"],
        "url": {"triton": url},
        "layout": ["per-model"],
        "client": list(_CLIENTS),
        "model": ["sleeping", "instant"],
        "batch_size": 1,
        "duration": options.seconds,
        "warmup_timeout": 1,
        "rounds": options.rounds,
        "verify": False,
        "calibrate": False,
        "loads": [{"workers": 1, "concurrency": each} for each in options.in_flight],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clients.yaml").write_text(yaml.safe_dump(asked))
    before = set(folder.glob("*/summary.json"))
    command = [sys.executable, "-m", "raybench", "run", str(folder / "clients.yaml"), "--out", str(folder)]
    status = subprocess.run([*command, "--ui", "plain"], stdout=subprocess.DEVNULL).returncode
    left = set(folder.glob("*/summary.json")) - before
    if not left:
        raise SystemExit(f"raybench run ended with {status} and no summary.json in {folder}; its own lines stand above")
    return left.pop().parent


def read(results: Path) -> tuple[Measured, ...]:
    """The trials of a results folder."""
    summary = json.loads((results / "summary.json").read_text())
    return tuple(_trial(each) for each in summary["trials"])


def _trial(trial: dict[str, Any]) -> Measured:
    load, failed = trial["load"], trial["requests"]["failed"]
    p50_ms = (trial["service_ms"] or {}).get("p50") if trial["status"] == "ok" and not failed else None
    reason = trial["reason"] or (f"{failed} requests failed" if failed else "too few requests for a p50")
    return Measured(trial["model"]["name"], load["concurrency"], load["client"], trial["round"], p50_ms, reason)


def show(trials: Sequence[Measured]) -> int:
    """Print the table, and below it what gave no number; 1 where there is such, else 0."""
    print("| model | in flight | http2 p50 ms | grpcio p50 ms | grpcio / http2 | 95 % interval | rounds |")
    print("|---|---|---|---|---|---|---|")
    for model, in_flight in sorted({(each.model, each.in_flight) for each in trials}):
        print(f"| {model} | {in_flight} | {' | '.join(row(trials, model, in_flight))} |")
    missing = [each for each in trials if each.p50_ms is None]
    for each in missing:
        where = f"{each.model}, {each.in_flight} in flight, {each.client}, round {each.round}"
        print(f"no p50 of {where}: {each.reason}")
    return 1 if missing or not trials else 0


def row(trials: Sequence[Measured], model: str, in_flight: int) -> Iterator[str]:
    """The cells of a row: both p50, their ratio, its interval, and of how many rounds."""
    here = [each for each in trials if (each.model, each.in_flight) == (model, in_flight)]
    ours, theirs = (_by_round(here, client) for client in _CLIENTS)
    both = sorted(ours.keys() & theirs.keys())
    for each in (ours, theirs):
        yield f"{fmean(each[n] for n in both):.3f}" if both else "–"
    yield from written(paired_ratio([theirs[n] for n in both], [ours[n] for n in both]))
    yield str(len(both))


def _by_round(trials: Sequence[Measured], client: str) -> dict[int, float]:
    return {each.round: each.p50_ms for each in trials if each.client == client and each.p50_ms is not None}


if __name__ == "__main__":
    sys.exit(main())
