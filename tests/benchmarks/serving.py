"""What serving costs beside TensorFlow itself, and what a pipeline in the backend gives back.

    python tests/benchmarks/serving.py [--sleeping-model] [--models models] [-m MODEL ...] [--arm ARM ...]
                                       [--soak IMAGES]

Each arm is loaded after the other, in an order that alternates by round, while all stand side by side: `local` is
TensorFlow in this process, numpy in and out, one call after the other; `loop` a Triton with the plain backend of
loop_backend/; `D` and `DxI` our backend with a pipeline of depth D and I instances. Prints images/s of each round, the
medians and their ratios to `local` and `loop`, then each Triton's own times with one client; answers are compared
with TensorFlow's meanwhile. --sleeping-model brings a model that sleeps in place of computing, as the CPU does while a
GPU computes; --soak sends so many images to the last arm and prints its memory. Where there is a GPU its use and memory
are shown.
"""

import argparse
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import sleeping_model

from raybench.clients.local_client import LocalClient
from raybench.clients.triton_client import TritonClient
from raybench.config.server_settings import ServerSettings
from raybench.inputs.photos import decode, random_crop, sample_photos
from raybench.servers.triton_server import RunningTriton, TritonOptions, running_triton
from raybench.servers.warm_up import WarmUp
from raybench.telemetry import gpu
from raybench.telemetry.server_statistics import counting
from raybench.telemetry.triton_statistics import StatisticsReader

LOOP = Path(__file__).parent / "loop_backend" / "model.py"
SIGNATURE = "predict_images"
TIMEOUT_S, START_S = 120, 900
STAGES = ("request", "queue", "compute_input", "compute_infer", "compute_output")
CHECKED_EVERY = 16  # replies of a client
Answer = dict[str, np.ndarray]


@dataclass(frozen=True)
class Measured:
    """One arm under load for some seconds; Triton's own times are per request."""

    images_per_s: float
    times_ms: list[float]
    gpu_pct: float | None
    worst: float = 0.0
    triton_ms: str = ""


def loaded(send: Callable[[int, int], None], clients: int, seconds: float) -> tuple[float, list[float], float | None]:
    """Requests/s of so many closed-loop clients, the time of each request in ms, the GPU's mean utilization."""
    stop = threading.Event()

    def client(number: int) -> list[float]:
        times: list[float] = []
        while not stop.is_set():
            started = time.perf_counter()
            send(number, len(times))
            times.append((time.perf_counter() - started) * 1e3)
        return times

    with gpu_use() as use, ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        running = [pool.submit(client, number) for number in range(clients)]
        time.sleep(seconds)
        stop.set()
        times = [each for future in running for each in future.result()]
        elapsed = time.perf_counter() - started
    return len(times) / elapsed, times, float(np.mean(use)) if use else None


@contextmanager
def gpu_use() -> Iterator[list[float]]:
    """Utilization of the host's GPUs in percent, read while the block runs; nothing without one."""
    seen: list[float] = []
    if not gpu.is_here():
        yield seen
        return
    with gpu.streaming(gpu.GPUS, lambda row: seen.append(row["gpu_utilization_pct"] or 0.0), void):
        yield seen


class Local:
    """TensorFlow in this process, one call after the other."""

    def __init__(self, models: Path, names: list[str], batches: list[np.ndarray]) -> None:
        self._clients = {name: LocalClient(str(models), model=name, signature=SIGNATURE) for name in names}
        self._batches = batches

    def answers(self, model: str) -> list[Answer]:
        return [self._answer(model, number) for number in range(len(self._batches))]

    def measure(self, model: str, seconds: float, clients: int) -> Measured:  # noqa: ARG002
        rate, times, use = loaded(lambda _, number: void(self._answer(model, number)), 1, seconds)
        return Measured(rate * len(self._batches[0]), times, use)

    def _answer(self, model: str, number: int) -> Answer:
        client = self._clients[model]
        reply = client.send({"images": self._batches[number % len(self._batches)]}, TIMEOUT_S)
        assert reply.is_ok, reply.error
        return client.decode(reply)


class Served:
    """A Triton, and a connection to it for each client."""

    def __init__(self, triton: RunningTriton, batches: list[np.ndarray], expected: dict[str, list[Answer]]) -> None:
        self.triton, self._batches, self._expected = triton, batches, expected

    def measure(self, model: str, seconds: float, clients: int) -> Measured:
        lanes = [TritonClient(self.triton.grpc_url, model=model, signature=SIGNATURE) for _ in range(clients)]
        requests = [lanes[0].encode({"images": batch}) for batch in self._batches]
        worst = [0.0]

        def send(lane: int, number: int) -> None:
            which = (lane + number) % len(requests)
            reply = lanes[lane].send(requests[which], TIMEOUT_S)
            assert reply.is_ok, reply.error
            if number % CHECKED_EVERY == 0:
                worst[0] = max(worst[0], distance(lanes[lane].decode(reply), self._expected[model], which))

        reader = StatisticsReader(self.triton.grpc_url, "saved_model")
        with closing(reader), counting(reader) as count:
            rate, times, use = loaded(send, clients, seconds)
            inside = count.total()
        for lane in lanes:
            lane.close()
        stages = {name: getattr(inside.counted, f"{name}_ns") for name in STAGES} if inside else {}
        per_request = {name: ns / inside.counted.success / 1e6 for name, ns in stages.items() if ns is not None}
        said = "  ".join(f"{name} {ms:.2f}" for name, ms in per_request.items())
        return Measured(rate * len(self._batches[0]), times, use, worst[0], said)


def void(_: object) -> None: ...


def distance(answer: Answer, expected: list[Answer], which: int) -> float:
    """max|a − b| / max|b| of the scores; an answer that lies nearer to another request's ends the benchmark."""
    gaps = [float(np.abs(answer["scores"] - each["scores"]).max() / each["scores"].max()) for each in expected]
    assert min(gaps) == gaps[which], f"an answer is another request's: {gaps}"
    return gaps[which]


def batches_of(batch_size: int, count: int = 4) -> list[np.ndarray]:
    """Different pictures, uint8 [batch_size, 224, 224, 3] each."""
    photos = [decode(path.read_bytes()) for path in sample_photos()]
    rng = np.random.default_rng(0)
    crops = [random_crop(photos[i % len(photos)], rng, 224, 224) for i in range(max(64, batch_size))]
    return [np.stack([crops[i] for i in rng.permutation(len(crops))[:batch_size]]) for _ in range(count)]


def options(arm: str, models: Path, names: list[str], batch_size: int) -> TritonOptions:
    depth, _, instances = arm.partition("x")
    zeros = np.zeros((batch_size, 224, 224, 3), np.uint8)
    return TritonOptions(
        models_conf=models / "models.conf",
        models=tuple(names),
        instances=int(instances or 1),
        warm_up=tuple(WarmUp(name, SIGNATURE, {"images": zeros}) for name in names),
        settings=ServerSettings(pipeline_depth=0 if depth == "loop" else int(depth)),
        backend=LOOP if depth == "loop" else None,
    )


@contextmanager
def running(asked: list[TritonOptions]) -> Iterator[list[RunningTriton]]:
    """Tritons that start at once, each in a thread that lives as long: a supervisor ends with its starter's thread."""
    stop, ups, failed = threading.Event(), dict[int, RunningTriton](), list[Exception]()

    def keep(number: int) -> None:
        try:
            with running_triton(asked[number]) as triton:
                ups[number] = triton
                stop.wait()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + START_S
        while len(ups) < len(asked):
            if failed or time.monotonic() > deadline:
                raise SystemExit(f"a Triton did not start: {failed}")
            time.sleep(0.1)
        yield [ups[number] for number in range(len(asked))]
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def report(model: str, seen: dict[str, list[Measured]]) -> None:
    medians = {arm: median(each.images_per_s for each in rounds) for arm, rounds in seen.items()}
    print(f"{model}: medians\n{'arm':8} images/s   /local    /loop   p50 ms   p99 ms    GPU %")
    for arm, rounds in seen.items():
        ratios = [f"{medians[arm] / medians[base]:9.2f}" if base in medians else " " * 9 for base in ("local", "loop")]
        times = [median(np.percentile(each.times_ms, q) for each in rounds) for q in (50, 99)]
        use = [each.gpu_pct for each in rounds if each.gpu_pct is not None]
        shown = f"{median(use):9.0f}" if use else f"{'-':>9}"
        print(f"{arm:8} {medians[arm]:8.0f}{''.join(ratios)}{times[0]:9.1f}{times[1]:9.1f}{shown}")
    worst = max(each.worst for rounds in seen.values() for each in rounds)
    print(f"answers differ from TensorFlow's by at most {worst:.1e} of the largest score", flush=True)


def memory(triton: RunningTriton) -> str:
    """Host memory of a server's processes, and what nvidia-smi says that they hold of the GPUs."""
    root = psutil.Process(triton.pid)
    processes = {each.pid: each for each in (root, *root.children(recursive=True))}
    said = f"RSS {sum(each.memory_info().rss for each in processes.values()) / 2**20:.0f} MiB"
    if not Path("/dev/nvidiactl").exists():
        return said
    command = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
    apps = [line.split(",") for line in lines]
    return f"{said}  GPU {sum(float(mib) for pid, mib in apps if int(pid) in processes):.0f} MiB"


def compare(sides: dict[str, Any], model: str, asked: argparse.Namespace) -> None:
    for side in sides.values():
        side.measure(model, 1, asked.clients)
    seen: dict[str, list[Measured]] = {arm: [] for arm in sides}
    for number in range(asked.rounds):
        for arm in list(sides) if number % 2 == 0 else list(sides)[::-1]:
            seen[arm].append(sides[arm].measure(model, asked.seconds, asked.clients))
            print(f"round {number + 1}  {model}  {arm:8} {seen[arm][-1].images_per_s:8.0f} images/s", flush=True)
    report(model, seen)
    for arm, side in sides.items():
        alone = side.measure(model, asked.seconds, 1)
        print(f"one client  {arm:8} p50 {np.percentile(alone.times_ms, 50):.1f} ms  {alone.triton_ms}", flush=True)


def soak(side: Served, model: str, asked: argparse.Namespace) -> None:
    sent = 0.0
    while sent < asked.soak:
        sent += side.measure(model, asked.seconds, asked.clients).images_per_s * asked.seconds
        print(f"soak  {model}  {sent:9.0f} images  {memory(side.triton)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("-m", "--model", action="append")
    parser.add_argument("--sleeping-model", action="store_true")
    parser.add_argument("--arm", action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--soak", type=int, default=0)
    asked = parser.parse_args()
    batches, arms = batches_of(asked.batch_size), asked.arm or ["local", "loop", "1", "3"]
    with tempfile.TemporaryDirectory() as scratch:
        names, models = asked.model or ["resnet50-no-opt", "resnet50-xla-amp"], asked.models
        if asked.sleeping_model:
            names, models = [sleeping_model.NAME], Path(scratch)
            sleeping_model.export(models)
        local = Local(models, names, batches)
        expected = {name: local.answers(name) for name in names}
        served = [arm for arm in arms if arm != "local"]
        with running([options(arm, models, names, asked.batch_size) for arm in served]) as tritons:
            sides: dict[str, Any] = dict.fromkeys(arms, local)
            sides |= {arm: Served(each, batches, expected) for arm, each in zip(served, tritons, strict=True)}
            for name in names:
                compare(sides, name, asked)
            for arm in served:
                print(f"memory  {arm:8} {memory(sides[arm].triton)}")
            for name in names:
                soak(sides[served[-1]], name, asked)


if __name__ == "__main__":
    main()
