"""Load on Tritons that stand side by side on a GPU host, and on TensorFlow in process, for gpu.py; each measurement is
a line of a file, and is not made again."""

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from serving import SIGNATURE, TIMEOUT_S, Answer, distance, loaded

from raybench.clients import shared_memory, shared_region
from raybench.clients.local_client import LocalClient
from raybench.clients.triton_client import TritonClient
from raybench.config import CUDA_SHARED_MEMORY, SHARED_MEMORY
from raybench.telemetry import gpu

GRPC, SHARED, CUDA, JPEG = "gRPC", SHARED_MEMORY, CUDA_SHARED_MEMORY, "JPEG over gRPC"
JPEGS = "predict_jpegs"
CHECKED_EVERY = 16  # replies of a client


@dataclass(frozen=True)
class Cell:
    """One arm under one load in one round."""

    model: str
    clients: int
    transport: str
    round: int
    arm: str


@dataclass(frozen=True)
class Seen:
    """What was measured; a GPU's readings are means, None without one. `copy_ms` is the mean part of a request's time
    in which the client copied its inputs to the GPU."""

    images_per_s: float
    p50_ms: float
    p99_ms: float
    gpu_pct: float | None
    power_w: float | None
    sm_mhz: float | None
    worst: float
    copy_ms: float | None = None


class OutOfTimeError(Exception):
    """What is left does not fit into this call."""


class Results:
    """The measurements of a step, each a line; what is there is not made again."""

    def __init__(self, path: Path, end_s: float) -> None:
        self._path, self._end_s = path, end_s
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def add(self, cell: Cell, measure: Callable[[], Seen], seconds: float) -> None:
        if any(all(row[name] == value for name, value in asdict(cell).items()) for row in self.rows):
            return
        if time.monotonic() + 2 * seconds + 2 > self._end_s:
            raise OutOfTimeError
        row = {**asdict(cell), **asdict(measure())}
        print(json.dumps(row), flush=True)
        self.note(row)

    def note(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


class Requests:
    """The batches of a run as pixels and as JPEG files, and TensorFlow's answers to them in this process."""

    def __init__(self, models: Path, names: list[str], batches: list[np.ndarray], *, has_jpegs: bool = True) -> None:
        self.items = len(batches[0])
        self.of = {SIGNATURE: [{"images": batch} for batch in batches]}
        if has_jpegs:
            files = [np.array([jpeg(each) for each in batch], object) for batch in batches]
            self.of[JPEGS] = [{"jpeg_images": batch} for batch in files]
        keys = list(product(names, self.of))
        self._local = {key: LocalClient(str(models), model=key[0], signature=key[1]) for key in keys}
        self.expected = {key: [self._answer(*key, number) for number in range(len(batches))] for key in keys}

    def measure(self, model: str, seconds: float, clients: int, transport: str) -> Seen:
        """TensorFlow in process, numpy in and out."""
        signature = signature_of(transport)
        return measured(lambda _, number: drop(self._answer(model, signature, number)), clients, seconds, self.items)

    def _answer(self, model: str, signature: str, number: int) -> Answer:
        client, batches = self._local[model, signature], self.of[signature]
        reply = client.send(batches[number % len(batches)], TIMEOUT_S)
        assert reply.is_ok, reply.error
        return client.decode(reply)


class Side:
    """A Triton under load, over gRPC or through shared memory of the host or of its GPU."""

    def __init__(self, url: str, requests: Requests) -> None:
        self._url, self._requests = url, requests

    def measure(self, model: str, seconds: float, clients: int, transport: str) -> Seen:
        signature = signature_of(transport)
        with ExitStack() as open_ones:
            region = None
            if transport in (SHARED, CUDA):
                (name,) = shared_memory.names(self._url, 1)
                region = shared_region(transport, self._url, name, lanes=clients)
                open_ones.callback(region.close)
            lanes = [TritonClient(self._url, model=model, signature=signature, region=region) for _ in range(clients)]
            for lane in lanes:
                open_ones.callback(lane.close)
            encoded = [lanes[0].encode(batch) for batch in self._requests.of[signature]]
            if region:
                region.register()
            seen = self._loaded(self._requests.expected[model, signature], seconds, lanes, encoded)
            copies, took_ns = (region.copied if region else None) or (0, 0)
            return replace(seen, copy_ms=took_ns / copies / 1e6 if copies else None)

    def _loaded(self, expected: list[Answer], seconds: float, lanes: list[TritonClient], encoded: list[Any]) -> Seen:
        worst = [0.0]

        def send(lane: int, number: int) -> None:
            which = (lane + number) % len(encoded)
            reply = lanes[lane].send(encoded[which], TIMEOUT_S)
            assert reply.is_ok, reply.error
            if number % CHECKED_EVERY == 0:
                worst[0] = max(worst[0], distance(lanes[lane].decode(reply), expected, which))

        return replace(measured(send, len(lanes), seconds, self._requests.items), worst=worst[0])


def signature_of(transport: str) -> str:
    return JPEGS if transport == JPEG else SIGNATURE


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def drop(_: object) -> None: ...


def measured(send: Callable[[int, int], None], clients: int, seconds: float, items: int) -> Seen:
    with gpu_rows() as rows:
        rate, times, _ = loaded(send, clients, seconds)
    p50_ms, p99_ms = (float(np.percentile(times, each)) for each in (50, 99))
    names = ("gpu_utilization_pct", "gpu_power_w", "gpu_sm_clock_mhz")
    return Seen(rate * items, p50_ms, p99_ms, *(mean([row.get(name) for row in rows]) for name in names), worst=0.0)


@contextmanager
def gpu_rows() -> Iterator[list[dict[str, Any]]]:
    """Readings of the host's GPU while the block runs."""
    rows: list[dict[str, Any]] = []
    if not gpu.is_here():
        yield rows
        return
    with gpu.streaming(gpu.GPUS, rows.append, drop):
        yield rows


def mean(values: list[float | None]) -> float | None:
    there = [each for each in values if each is not None]
    return float(np.mean(there)) if there else None
