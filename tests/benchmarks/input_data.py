"""raybench beside perf_analyzer on the same --input-data file: requests/s that the same server gives each.

    python tests/benchmarks/input_data.py [--rounds 5] [--seconds 5] [--in-flight 4] [--batch 1,4]

Needs perf_analyzer on PATH. A Triton has a model that raybench did not write (several inputs, BYTES, one of them
optional), which does next to nothing; both clients take turns, in an order that alternates by round. Prints the median
of the rounds with the lowest and highest, and raybench / perf_analyzer by round.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from foreign_models import write_foreign_models
from own_triton import own_triton

RAYBENCH = Path(sys.executable).with_name("raybench")
MODEL = "tabular"
STEPS = [{"age": [n], "features": [n + 0.5, 1.5, -2.5, 1e-3], "comment": [f"row {n}"]} for n in range(50)]


def perf_analyzer(url: str, file: Path, batch: int, in_flight: int, seconds: float) -> float:
    """Requests/s by perf_analyzer's own word."""
    command = ["perf_analyzer", "-m", MODEL, "-u", url, "-i", "grpc", "--input-data", str(file), "-b", str(batch)]
    command += ["--concurrency-range", str(in_flight), "--measurement-interval", str(int(seconds * 1000))]
    command += ["--max-trials", "3", "--stability-percentage", "999"]  # it shows nothing where it finds no steady state
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 + 10 * seconds, check=False)
    found = re.findall(r"Throughput: ([\d.]+) infer/sec", done.stdout)
    if not found:
        raise SystemExit(done.stdout + done.stderr)
    return float(found[-1]) / batch


def raybench(url: str, file: Path, batch: int, in_flight: int, seconds: float, folder: Path) -> float:
    """Requests/s of the window of one trial."""
    command = [str(RAYBENCH), "run", "-s", "triton", "--url", f"triton={url}", "-m", MODEL, "--input", str(file)]
    command += ["-b", str(batch), "--workers", "1", "--concurrency", str(in_flight), "--duration", str(seconds)]
    command += ["--ui", "none", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 + 10 * seconds, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    results = max(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    report = subprocess.run(
        [str(RAYBENCH), "report", str(results), "--format", "json"], capture_output=True, text=True, check=True
    )
    return float(json.loads(report.stdout)["trials"][0]["throughput"]["requests_per_s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--batch", default="1,4")
    parser.add_argument("--scratch", type=Path, help="folder that perf_analyzer sees under the same path")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.scratch) as name:
        folder = Path(name)
        file = folder / "steps.json"
        file.write_text(json.dumps({"data": STEPS}))
        with own_triton(write_foreign_models(folder / "repository", folder / "log")) as server:
            for batch in map(int, asked.batch.split(",")):
                rates: dict[str, list[float]] = {"perf_analyzer": [], "raybench": []}
                for round_ in range(asked.rounds):
                    for who in sorted(rates, reverse=bool(round_ % 2)):
                        common = (server.url, file, batch, asked.in_flight, asked.seconds)
                        rate = perf_analyzer(*common) if who == "perf_analyzer" else raybench(*common, folder / "out")
                        rates[who].append(rate)
                for who, found in rates.items():
                    sys.stdout.write(f"batch {batch}, {who}: {median(found):.0f} ({min(found):.0f}-{max(found):.0f})\n")
                ratios = [ours / theirs for ours, theirs in zip(rates["raybench"], rates["perf_analyzer"], strict=True)]
                said = ", ".join(f"{ratio:.2f}" for ratio in ratios)
                sys.stdout.write(f"batch {batch}: raybench / perf_analyzer {median(ratios):.2f} ({said})\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
