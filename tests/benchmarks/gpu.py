"""The tables of docs/gpu.md, made on a GPU host in steps, of which each call makes what is left and fits.

    python tests/benchmarks/gpu.py --out FOLDER [--minutes M] [--step STEP ...] [--compare OLD_TREE]

Steps, in this order: `export` (the models), `compare` (one instance of OLD_TREE's backend beside one of this tree's and
TensorFlow in process), `cuda-shm` (one instance with XLA whose inputs lie in shared memory of the host or of its GPU,
beside TensorFlow in process), `run-1` (raybench run with verification and ceiling, one round), `tables-resnet50`
(local, x1, x2 and x4 side by side; gRPC, shared memory and JPEG files; 4 and 16 in flight), `soak` (host memory over a
million images), `run-3`, `tables-efficientnetb0`. Every measurement is a line of FOLDER/STEP.jsonl, and is not made
again: a call that was cut off goes on where it ended, and exits with 75 while something is left. Arms are measured in
turn, forwards and backwards by round. Answers are compared with TensorFlow's meanwhile; one that is nearer to another
request's ends the step. Prints each step's table.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from gpu_load import CUDA, GRPC, JPEG, SHARED, Cell, OutOfTimeError, Requests, Results, Seen, Side
from serving import batches_of, options, running
from tritonclient.utils import InferenceServerException

from raybench.processes import stop_supervised, supervised
from raybench.servers.server_process import free_ports
from raybench.servers.triton_server import client
from raybench.telemetry import gpu

Step = Callable[[argparse.Namespace, Results], None]
UNFINISHED = 75
START_S, STOP_S = 400, 20
TREE = Path(__file__).parents[2]
RUN = ("-s", "local", "-s", "triton", "--instances", "1,4", "-b", "100", "--workers", "4", "--concurrency", "4")
RUN += ("--request-count", "500")
END_S = 25  # in which an interrupted run ends
TITLES = ("model", "in flight", "transport", "arm", "rounds", "images/s", "lowest", "highest", "of local", "of old")
TITLES += ("p50 ms", "p99 ms", "copy ms", "GPU %", "W", "MHz", "images/J", "apart")


@contextmanager
def served_by(tree: Path, models: Path, names: list[str]) -> Iterator[str]:
    """The url of one instance of a tree's own backend, started by that tree."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "raybench", "serve", "triton", "--models", str(models.resolve())]
    command += [word for name in names for word in ("-m", name)]
    process = subprocess.Popen(supervised([*command, "--port", str(port)]), env=environment_of(tree), cwd=tree)
    url, end_s = f"127.0.0.1:{port}", time.monotonic() + START_S
    try:
        with client(url) as asking:
            while not is_ready(asking):
                if process.poll() is not None or time.monotonic() > end_s:
                    raise SystemExit(f"{tree} does not serve")
                time.sleep(0.5)
        yield url
    finally:
        stop_supervised(process, STOP_S)


def is_ready(asking: Any) -> bool:
    try:
        return bool(asking.is_model_ready("saved_model", client_timeout=2))
    except InferenceServerException:
        return False


def compare(asked: argparse.Namespace, results: Results) -> None:
    """One instance of both backends side by side, each with its own export, and TensorFlow in process."""
    names = asked.models_of(asked.architecture[0])
    requests = Requests(asked.models, names, asked.batches)
    arms = {"local": requests.measure}
    trees = {"old x1": (asked.compare, old_models(asked)), "new x1": (TREE, asked.models)}
    with ExitStack() as stack:
        for arm, (tree, models) in trees.items():
            arms[arm] = Side(stack.enter_context(served_by(tree, models, names)), requests).measure
        ways = [(names[-1], GRPC), (names[0], GRPC), (names[-1], JPEG), (names[-1], SHARED)]
        loads = [(name, asked.most_in_flight, transport) for name, transport in dict.fromkeys(ways)]
        interleave(arms, loads, asked, results, rounds=max(5, asked.rounds))


def cuda_shm(asked: argparse.Namespace, results: Results) -> None:
    """One instance, with inputs in shared memory of the host and of its GPU, and TensorFlow in process; needs a GPU."""
    if not gpu.is_here():
        return
    name = asked.models_of(asked.architecture[0])[-1]
    requests = Requests(asked.models, [name], asked.batches, has_jpegs=False)
    served = replace(options("3x1", asked.models, [name], asked.batch_size), keeps_gpu_inputs=True)
    with running([served]) as (triton,):
        arms = {"local": requests.measure, "x1": Side(triton.grpc_url, requests).measure}
        loads = [(name, asked.most_in_flight, transport) for transport in (SHARED, CUDA)]
        interleave(arms, loads, asked, results, rounds=max(5, asked.rounds))


def old_models(asked: argparse.Namespace) -> Path:
    """Where the old tree's export lies: its weights are the same, the graph that decodes JPEG files may not be."""
    return Path(f"{asked.models}-old")


def tables(asked: argparse.Namespace, results: Results, architecture: str) -> None:
    """local, x1, x2 and x4 under all loads."""
    names = asked.models_of(architecture)
    if not all((asked.models / name).exists() for name in names):
        export_one(TREE, architecture, asked.models)
    requests = Requests(asked.models, names, asked.batches)
    depth = "3" if gpu.is_here() else "1"
    asked_for = {f"x{n}": options(f"{depth}x{n}", asked.models, names, asked.batch_size) for n in asked.instances}
    with running(list(asked_for.values())) as tritons:
        arms = {"local": requests.measure}
        for arm, triton in zip(asked_for, tritons, strict=True):
            arms[arm] = Side(triton.grpc_url, requests).measure
        loads = [*product(names, (4, asked.most_in_flight), (GRPC, SHARED))]
        loads += [(name, asked.most_in_flight, JPEG) for name in names]
        interleave(arms, loads, asked, results, rounds=asked.rounds)


def interleave(
    arms: dict[str, Callable[[str, float, int, str], Seen]],
    loads: list[tuple[str, int, str]],
    asked: argparse.Namespace,
    results: Results,
    rounds: int,
) -> None:
    """Every arm under every load in each round; each model is called on each arm once before, to compile it."""
    called = dict.fromkeys((name, JPEG if transport == JPEG else GRPC) for name, _, transport in loads)
    for model, transport in called:
        for measure in arms.values():
            measure(model, 1.0, 1, transport)
    for number in range(rounds):
        order = list(arms) if number % 2 == 0 else list(arms)[::-1]
        for model, clients, transport in loads:
            for arm in order:
                way = transport if transport == JPEG or arm != "local" else "in process"
                load = (1 if arm == "local" else clients, way)
                ask = partial(arms[arm], model, asked.seconds, *load)
                results.add(Cell(model, *load, number + 1, arm), ask, asked.seconds)


def run(asked: argparse.Namespace, results: Results, rounds: int) -> None:
    """raybench run, which goes on with --resume; its results folder lies in the same folder."""
    folder = asked.out / f"run-{rounds}"
    command = [sys.executable, "-m", "raybench", "run"]
    begun = [*folder.glob("*/")]
    if begun:
        command += ["--resume", str(begun[0])]
    else:
        models = [word for name in asked.models_of(asked.architecture[0]) for word in ("-m", name)]
        command += [*RUN, *models, "--rounds", str(rounds), "--models", str(asked.models), "--out", str(folder)]
        command += ["--require-gpu"] if gpu.is_here() else []
    process = subprocess.Popen([*command, "--ui", "plain"])
    try:
        code = process.wait(max(1.0, asked.end_s - time.monotonic() - END_S))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        raise OutOfTimeError from None
    results.note({"exit_code": code})


def soak(asked: argparse.Namespace, results: Results) -> None:
    """A million images to one instance; the memory of its processes all the while."""
    name = asked.models_of(asked.architecture[0])[-1]
    requests = Requests(asked.models, [name], asked.batches)
    with running([options("3x1", asked.models, [name], asked.batch_size)]) as (triton,):
        side, sent = Side(triton.grpc_url, requests), 0.0
        while sent < asked.soak:
            if time.monotonic() + 12 > asked.end_s:
                raise OutOfTimeError
            sent += 10 * side.measure(name, 10, asked.most_in_flight, GRPC).images_per_s
            results.note({"images": round(sent), "rss_mib": rss_mib(triton.pid)})
            print(results.rows[-1], flush=True)


def rss_mib(pid: int | None) -> float:
    root = psutil.Process(pid)
    return sum(each.memory_info().rss for each in (root, *root.children(recursive=True))) / 2**20


def export(asked: argparse.Namespace, results: Results) -> None:
    """What is compared; the models of another architecture follow with its tables."""
    trees = {TREE: asked.models, **({asked.compare: old_models(asked)} if asked.compare else {})}
    for tree, models in trees.items():
        export_one(tree, asked.architecture[0], models)
    results.note({"exported": [str(models) for models in trees.values()]})


def export_one(tree: Path, architecture: str, models: Path) -> None:
    command = [sys.executable, "-m", "raybench", "export", architecture, "--out", str(models.resolve())]
    subprocess.run(command, env=environment_of(tree), cwd=tree, check=True)


def environment_of(tree: Path) -> dict[str, str]:
    """In which Python takes raybench from that tree."""
    return {**os.environ, "PYTHONPATH": str(tree.resolve())}


def show(step: str, rows: list[dict[str, Any]]) -> None:
    """Medians over the rounds, each arm beside local and beside the old backend."""
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if "arm" in row:
            cells.setdefault((row["model"], row["clients"], row["transport"], row["arm"]), []).append(row)
    rates = {key: median(row["images_per_s"] for row in found) for key, found in cells.items()}
    if cells:
        print(f"\n## {step}\n\n| {' | '.join(TITLES)} |\n{'|---' * len(TITLES)}|")
    for (model, clients, transport, arm), found in sorted(cells.items()):
        key = (model, clients, transport, arm)
        bases = (model, 1, JPEG if transport == JPEG else "in process", "local"), (model, clients, transport, "old x1")
        ratios = [f"{rates[key] / rates[base]:.2f}" if base in rates else "" for base in bases]
        spread = [f"{pick(row['images_per_s'] for row in found):.0f}" for pick in (min, max)]
        middle = {
            name: mid([row.get(name) for row in found])
            for name in ("p50_ms", "p99_ms", "copy_ms", "gpu_pct", "power_w", "sm_mhz")
        }
        joule = f"{rates[key] / middle['power_w']:.1f}" if middle["power_w"] else ""
        shown = ["" if value is None else f"{value:.1f}" for value in middle.values()]
        worst = f"{max(row['worst'] for row in found):.1e}"
        words = [
            model,
            clients,
            transport,
            arm,
            len(found),
            f"{rates[key]:.0f}",
            *spread,
            *ratios,
            *shown,
            joule,
            worst,
        ]
        print("| " + " | ".join(map(str, words)) + " |")
    for row in rows:
        if "arm" not in row:
            print(f"{step}: {json.dumps(row)}")


def mid(values: list[float | None]) -> float | None:
    there = [each for each in values if each is not None]
    return median(there) if there else None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--step", action="append")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    parser.add_argument("--compare", metavar="OLD_TREE", type=Path)
    parser.add_argument("--architecture", action="append")
    parser.add_argument("--variant", action="append")
    parser.add_argument("--instances", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--most-in-flight", type=int, default=16)
    parser.add_argument("--soak", type=int, default=1_000_000)
    asked = parser.parse_args()
    asked.architecture = asked.architecture or ["resnet50", "efficientnetb0"]
    variants = asked.variant or ["no-opt", "xla-amp"]
    asked.models_of = lambda architecture: [f"{architecture}-{variant}" for variant in variants]
    asked.end_s = time.monotonic() + 60 * asked.minutes
    asked.out.mkdir(parents=True, exist_ok=True)
    steps = steps_of(asked.architecture)
    sys.exit(made_here(asked, asked.here, steps[asked.here]) if asked.here else made(asked, asked.step or list(steps)))


def made(asked: argparse.Namespace, steps: list[str]) -> int:
    """Make each step that is left in a process of its own, whose TensorFlow holds memory of a GPU."""
    failed = 0
    for step in steps:
        if (step == "compare" and not asked.compare) or (asked.out / f"{step}.done").exists():
            continue
        left = (asked.end_s - time.monotonic()) / 60
        command = [sys.executable, *sys.argv, "--here", step, "--minutes", f"{left:.2f}"]
        code = subprocess.run(supervised(command), check=False).returncode
        if code == UNFINISHED:
            return code
        failed = failed or code  # the others need not wait for its repair
    return failed


def made_here(asked: argparse.Namespace, step: str, make: Step) -> int:
    results = Results(asked.out / f"{step}.jsonl", asked.end_s)
    asked.batches = batches_of(asked.batch_size)
    code = 0
    try:
        make(asked, results)
        (asked.out / f"{step}.done").touch()
    except OutOfTimeError:
        code = UNFINISHED
    show(step, results.rows)
    return code


def steps_of(architectures: list[str]) -> dict[str, Step]:
    """What is made, in this order; the first architecture is what is compared and soaked too."""
    first, *others = [(f"tables-{name}", partial(tables, architecture=name)) for name in architectures]
    steps: list[tuple[str, Step]] = [("export", export), ("compare", compare), ("cuda-shm", cuda_shm)]
    steps += [("run-1", partial(run, rounds=1)), first]
    return dict([*steps, ("soak", soak), ("run-3", partial(run, rounds=3)), *others])


if __name__ == "__main__":
    main()
