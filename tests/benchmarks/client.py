"""Is the client what is measured? `raybench run` against a bare loop and perf_analyzer, on a model that does nothing.

    python tests/benchmarks/client.py [--protocol http] [--shared-memory] [--perf-analyzer CMD] [--before TREE] \
        [--rounds 5] [--seconds 3] [--images 1,16,100] [--in-flight 4,1] [--workers 1]

All load the model `echo` of one real Triton with requests of so many images of 224x224x3, one after the other and in
shuffled order in each round. The bare loop sends such bytes with grpcio, or with http.client, and nothing else around
it: what that can do at best. With --shared-memory these two have the images there, perf_analyzer in its requests as
ever. --before names a checkout of another state of raybench, which is measured beside this one. With several in
flight requests/s are compared, with 1 the p50; medians over the rounds, the client's CPU per request beside them
(perf_analyzer's include its start). Prints Markdown tables.
"""

import argparse
import itertools
import json
import os
import random
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

import grpc
import numpy as np

from raybench.clients.shared_memory import Region, names
from raybench.clients.triton_client import TritonClient
from raybench.config import ECHO, is_http, without_scheme
from raybench.inputs.photo_source import IMAGE_PX
from raybench.servers.triton_server import TritonOptions, running_triton

PAYLOADS = (
    8,
    64,
)  # at least and at most; as many as raybench has for 4 in flight: what fits into the CPU's cache costs less to send
PAYLOAD_BYTES = 160e6  # of all of them
TIMEOUT_S = 120
PERF_ANALYZER_SAYS = (r"Request count: (\d+)", r"Throughput: ([\d.]+) infer", r"p50 latency: (\d+) usec")


@dataclass(frozen=True)
class Measured:
    """What one client got out of one short run."""

    requests_per_s: float
    p50_ms: float
    cpu_ms: float  # of the client, per request


def by_raybench(
    tree: str | None, memory: str, workers: int, url: str, images: int, in_flight: int, seconds: float
) -> Measured:
    """Of the checkout in `tree`, or of the raybench that is installed."""
    workers, environment = min(workers, in_flight), dict(os.environ)
    if tree:
        environment["PYTHONPATH"] = tree
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "raybench", "run", "-s", "triton", "--url", f"triton={url}", "-m", ECHO]
        command += ["-b", str(images)]
        command += [
            "--workers",
            str(workers),
            "--concurrency",
            str(in_flight // workers),
            "--duration",
            str(seconds),
            "--images",
            "noise",
        ]
        command += ["--shared-memory", memory]
        command += ["--out", out, "--ui", "none"]
        subprocess.run(command, check=True, timeout=TIMEOUT_S, capture_output=True, env=environment, cwd=out)
        (folder,) = Path(out).iterdir()
        (trial,) = json.loads((folder / "summary.json").read_text())["trials"]
    assert trial["requests"]["failed"] == 0, trial["requests"]
    cpu_s = sum(worker["cpu_s"] for worker in trial["workers"]) / trial["requests"]["attempted"]
    return Measured(trial["throughput"]["requests_per_s"], trial["service_ms"]["p50"], cpu_s * 1e3)


def by_bare_loop(memory: str, url: str, images: int, in_flight: int, seconds: float) -> Measured:
    """Runs in a process of its own, as every client here does."""
    command = [sys.executable, __file__, "--bare", memory, url, str(images), str(in_flight), str(seconds)]
    done = subprocess.run(command, check=True, timeout=TIMEOUT_S, capture_output=True, text=True)
    return Measured(*json.loads(done.stdout))


def by_perf_analyzer(command: list[str], url: str, images: int, in_flight: int, seconds: float) -> Measured:
    """Three windows that are `seconds` together, accepted however they scatter: on a busy machine its own rule would
    give no number. On a machine of 24 GiB it was seen killed for taking all of them, in three windows of 2 s."""
    shapes = ["--shape", f"images:{images},{IMAGE_PX},{IMAGE_PX},3", "--shape", "jpeg_images:1"]  # it asks for all
    command = [*command, "-m", ECHO, "-i", "grpc", "-u", url, *shapes, "--concurrency-range", str(in_flight)]
    window_ms = str(int(seconds / 3 * 1e3))
    command += ["--measurement-interval", window_ms, "--max-trials", "3", "--stability-percentage", "999"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(command, timeout=TIMEOUT_S, capture_output=True, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    requests, rate, p50_us = (float(re.search(pattern, said)[1]) for pattern in PERF_ANALYZER_SAYS)  # type: ignore[index]
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(rate, p50_us / 1e3, cpu_s / requests * 1e3)


def bare_loop(memory: str, url: str, images: int, in_flight: int, seconds: float) -> Measured:
    """So many threads on one channel, each sending the next request when its reply is in; warm-up apart."""
    call = by_http_client(url) if is_http(url) else by_grpcio(url)
    shape = (images, IMAGE_PX, IMAGE_PX, 3)
    region = Region(url, names(url, 1)[0]) if memory == "system" else None
    encode = TritonClient(url, model=ECHO, signature="predict_images", region=region).encode
    count = int(np.clip(PAYLOAD_BYTES / np.prod(shape), *PAYLOADS))
    payloads = [encode({"images": np.random.default_rng(i).integers(0, 256, shape, np.uint8)}) for i in range(count)]
    if region:
        region.register()
    for _ in range(2 * in_flight):
        call(payloads[0])
    times_s: list[float] = []

    def lane(number: int, until: float) -> None:
        for payload in itertools.cycle(payloads[number:] + payloads[:number]):
            sent = time.perf_counter()
            if sent >= until:
                return
            call(payload)
            times_s.append(time.perf_counter() - sent)

    cpu_s, started = time.process_time(), time.perf_counter()
    lanes = [threading.Thread(target=lane, args=(i, started + seconds)) for i in range(in_flight)]
    for each in lanes:
        each.start()
    for each in lanes:
        each.join()
    elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_s
    if region:
        region.close()
    return Measured(len(times_s) / elapsed_s, median(times_s) * 1e3, cpu_s / len(times_s) * 1e3)


def by_grpcio(url: str) -> Callable[[bytes], object]:
    channel = grpc.insecure_channel(url, options=[("grpc.max_send_message_length", -1)])
    return partial(channel.unary_unary("/inference.GRPCInferenceService/ModelInfer"), timeout=60)


def by_http_client(url: str) -> Callable[[bytes], object]:
    """A connection for each thread; what `encode` made is taken apart once, before the clock starts."""
    here, taken_apart = threading.local(), dict[int, tuple[dict[str, str], bytes]]()

    def parts(request: bytes) -> tuple[dict[str, str], bytes]:
        head, _, content = request.partition(b"\r\n\r\n")
        return dict(line.split(": ", 1) for line in head.decode().split("\r\n")), content

    def call(request: bytes) -> object:
        if not hasattr(here, "connection"):
            here.connection = HTTPConnection(without_scheme(url), timeout=60)
        headers, content = taken_apart.get(id(request)) or taken_apart.setdefault(id(request), parts(request))
        here.connection.request("POST", f"/v2/models/{ECHO}/infer", content, headers)
        response = here.connection.getresponse()
        content = response.read()
        assert response.status == 200, content
        return content

    return call


Clients = dict[str, Callable[[str, int, int, float], Measured]]


def rounds(clients: Clients, url: str, images: int, in_flight: int, options: argparse.Namespace) -> dict[str, Measured]:
    """The medians of each client over the rounds."""
    seen: dict[str, list[Measured]] = {name: [] for name in clients}
    for number in range(options.rounds):
        for name in random.Random(number).sample(list(clients), len(clients)):
            measured = clients[name](url, images, in_flight, options.seconds)
            seen[name].append(measured)
            print(f"  round {number + 1}, {images} images, {in_flight} in flight, {name}: {measured}", file=sys.stderr)
    return {name: Measured(*np.median([astuple(each) for each in all_], axis=0)) for name, all_ in seen.items()}


def table(
    head: str, unit: str, rows: list[tuple[int, dict[str, Measured]]], value: Callable[[Measured], float]
) -> None:
    names = list(rows[0][1])
    others = [name for name in names if name != "raybench"]
    print(f"\n{head}\n")
    print("| images | " + " | ".join([*names, *(f"raybench / {name}" for name in others)]) + " |")
    print("|---" * (1 + len(names) + len(others)) + "|")
    for images, medians in rows:
        cells = [f"{value(medians[name]):.4g} {unit}, {medians[name].cpu_ms:.2f} ms CPU" for name in names]
        cells += [f"{value(medians['raybench']) / value(medians[name]):.2f}" for name in others]
        print(f"| {images} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared-memory", action="store_const", const="system", default="none")
    parser.add_argument("--protocol", choices=("grpc", "http"), default="grpc")
    parser.add_argument("--before", metavar="TREE", help="a checkout of the state that is to be compared")
    parser.add_argument("--perf-analyzer", metavar="CMD", help="the peer's command line, if it is to be compared")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--images", default="1,16,100")
    parser.add_argument("--in-flight", default="4,1")
    parser.add_argument("--workers", type=int, default=1, help="of raybench, which share the requests in flight")
    parser.add_argument("--bare", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        memory, url, images, in_flight, seconds = options.bare
        print(json.dumps(astuple(bare_loop(memory, url, int(images), int(in_flight), float(seconds)))))
        return
    memory = options.shared_memory
    ours = partial(by_raybench, None, memory, options.workers)
    clients: Clients = {"raybench": ours, "bare loop": partial(by_bare_loop, memory)}
    if options.before:
        clients["before"] = partial(by_raybench, options.before, memory, options.workers)
    if options.perf_analyzer:
        clients["perf_analyzer"] = partial(by_perf_analyzer, shlex.split(options.perf_analyzer))
    sizes = [int(size) for size in options.images.split(",")]
    with running_triton(TritonOptions(models_conf=Path(), models=())) as triton:
        for in_flight in map(int, options.in_flight.split(",")):
            url = triton.http_url if options.protocol == "http" else triton.grpc_url
            rows = [(size, rounds(clients, url, size, in_flight, options)) for size in sizes]
            if in_flight == 1:
                table("1 in flight: p50, client CPU per request", "ms", rows, lambda measured: measured.p50_ms)
            else:
                head = f"{in_flight} in flight: requests/s, client CPU per request"
                table(head, "/s", rows, lambda measured: measured.requests_per_s)


if __name__ == "__main__":
    main()
