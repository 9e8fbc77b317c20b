"""Does an open loop keep its schedule? `raybench run --request-rate` against servers that do next to nothing.

    python tests/benchmarks/pacing.py [--rates 100,250,500,1000] [--seconds 10] [--workers 4] [--lanes 64] [--triton]
    python tests/benchmarks/pacing.py --queue [--seconds 60]

Poisson arrivals of 1 image over so many workers, at each rate in turn, to `fake` (1 ms in the worker, no network) and
with --triton to the model `echo` of a real Triton. Printed are the rate reached over the one that was scheduled, by how
much the client itself was late (pacing error), due times that found no lane free, and the client's CPU per request.

With --queue, one lane to `fake` with a fixed service time at 30, 50 and 70 % load: the mean wait of a queue with
Poisson arrivals, a fixed service time s and one server is load x s / (2 (1 - load)) (M/D/1, Pollaczek-Khinchine). The
service time is the one that was measured.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from raybench.config import ECHO
from raybench.servers.triton_server import TritonOptions, running_triton

RAYBENCH = Path(sys.executable).parent / "raybench"
FAKE = ["-s", "fake", "--url", "fake=service_ms=1"]
QUEUE_MS = 20.0


def trials(rates: str, flags: list[str]) -> list[dict[str, Any]]:
    """The trials of one run, by rate."""
    with tempfile.TemporaryDirectory() as out:
        command = [RAYBENCH, "run", "-b", "1", "--images", "noise", "--request-rate", rates, *flags]
        subprocess.run([*command, "--out", out, "--ui", "none"], check=True, capture_output=True)
        (folder,) = Path(out).iterdir()
        found = json.loads((folder / "summary.json").read_text())["trials"]
    return sorted(found, key=lambda trial: trial["load"]["offered_rps"])


def pacing(options: argparse.Namespace) -> None:
    lanes = str(options.lanes * options.workers)
    load = ["--workers", str(options.workers), "--max-in-flight", lanes, "--duration", str(options.seconds)]
    print("| server | offered/s | achieved / scheduled | pacing error p50 ms | p99 ms | cap hits | CPU ms a request |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for trial in trials(options.rates, [*load, *FAKE]):
        pacing_row("fake", trial)
    if options.triton:
        with running_triton(TritonOptions(models_conf=Path(), models=())) as triton:
            echo = ["-s", "triton", "--url", f"triton={triton.grpc_url}", "-m", ECHO]
            for trial in trials(options.rates, [*load, *echo]):
                pacing_row("echo", trial)


def pacing_row(server: str, trial: dict[str, Any]) -> None:
    reached, late = trial["achieved_rps"] / trial["scheduled_rps"], trial["pacing_error_ms"]
    cpu_ms = sum(worker["cpu_s"] for worker in trial["workers"]) / trial["requests"]["attempted"] * 1e3
    rate = trial["load"]["offered_rps"]
    print(f"| {server} | {rate:g} | {reached:.4f} | {late['p50']:.3f} | {late['p99']:.3f} ", end="")
    print(f"| {trial['cap_hits']} | {cpu_ms:.2f} |", flush=True)


def queue(options: argparse.Namespace) -> None:
    load = ["--workers", "1", "--max-in-flight", "1", "--duration", str(options.seconds)]
    rates = ",".join(f"{share / QUEUE_MS * 1e3:g}" for share in (0.3, 0.5, 0.7))
    print("| load | mean wait ms | M/D/1 ms | ratio |")
    print("|---:|---:|---:|---:|")
    for trial in trials(rates, [*load, "-s", "fake", "--url", f"fake=service_ms={QUEUE_MS}"]):
        service_ms, wait_ms = trial["service_ms"]["mean"], trial["lag_ms"]["mean"]
        share = trial["scheduled_rps"] * service_ms / 1e3
        expected_ms = share * service_ms / (2 * (1 - share))
        print(f"| {share:.1%} | {wait_ms:.2f} | {expected_ms:.2f} | {wait_ms / expected_ms:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rates", default="100,250,500,1000")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--lanes", type=int, default=64, help="of each worker")
    parser.add_argument("--triton", action="store_true")
    parser.add_argument("--queue", action="store_true")
    options = parser.parse_args()
    (queue if options.queue else pacing)(options)


if __name__ == "__main__":
    main()
