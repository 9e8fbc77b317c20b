"""A worker: opens an endpoint, encodes its images, warms up, and sends on its lanes; knows no Ray."""

import gc
import os
import resource
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from raybench.analysis.steady_state import Pace, is_steady
from raybench.clients import connect, connect_echo, shared_region
from raybench.clients.base import UNAVAILABLE, ClientError, Description, Reply, size
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.config import IN_PROCESS
from raybench.config.plan import Cell
from raybench.results.samples import CEILING, MEASURED, WARMUP, Sample, merge, service_ns, table
from raybench.telemetry.process_usage import pss_mib
from raybench.worker import schedule
from raybench.worker.feed import Batch, Preloaded, Request, Stream, batches

_CHUNK_S = 0.5  # a worker that dies takes its samples since the last chunk along
_CHUNKS_PER_S = 400  # of all workers together: a driver takes in about 1000 on a core of its own (docs/scale.md)
CHUNK_ROWS = 1000  # 84 kB: up to 100 kB Ray sends along with the news of it, and nothing stays on a node that may die
_UNAVAILABLE_S = 0.05  # a server that is gone refuses at once: no storm of refusals
_WARMUP_WINDOW_S = 0.3
_CEILING_S = 1.5
_CEILING_LANES = 4  # of a worker in an open loop: more say no more of what it can do
_CEILING_BYTES = 2**25  # of copies of requests
_PREPARED = 64  # connections of a worker to each model before the start; there are more where calls need them
_OTHER_FILES = 500  # that a process of Ray's has open beside its connections, and some more
_SPIN_S = 2e-4  # sleep alone wakes 0.1-0.4 ms late; the last stretch is spun


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one worker does in one trial; the counts are this worker's shares."""

    worker: int
    cell: Cell
    url: str
    models: str
    request_count: int | None
    warmup_request_count: int | None  # None: until steady
    seed: tuple[int, ...] = (0,)  # of the due times; the same for all workers
    region: str | None = None  # name of the shared memory that holds its images; None: they are in the requests
    stream_bytes: int = 0  # what it may hold of encoded requests, where they are streamed


@dataclass(frozen=True)
class Payloads:
    """What a worker sends: how many requests of different images, which ones, and the size of the first."""

    requests: int
    image_hashes: tuple[str, ...]
    request_bytes: int
    held_mib: float | None  # by which encoding made the worker's process grow; None: requests come and go


def _allow_connections(task: Task) -> None:
    """Each lane has one to each model: let this process hold so many, where its host does; raises ClientError."""
    load = task.cell.load
    needed = load.lanes[task.worker] * len(task.cell.models) + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if load.transport == IN_PROCESS or soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ClientError(
            f"worker {task.worker} needs {needed} open files for its lanes, and {socket.gethostname()} allows a "
            f"process {hard}: use fewer lanes a worker, or raise ulimit -n"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def chunk_s(workers: int) -> float:
    """How long a worker of so many keeps its samples."""
    return max(_CHUNK_S, workers / _CHUNKS_PER_S)


class Worker:
    """Used in the order open, encode or stream, warm_up, run, calibrate, close."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._stop = threading.Event()
        self._kept: dict[int, Reply] = {}
        self._samples: deque[Sample] = deque()  # lanes append while run() takes from the front
        self._feed: Preloaded | Stream = Preloaded([])
        self._hashes: list[str] = []
        self._request_bytes = 0
        self._held_mib: float | None = None

    def open(self, credentials: ConnectionCredentials = NO_CREDENTIALS) -> Description:
        """Connect, with what opens the server, and ask what answers; raises ClientError."""
        task, cell, self._credentials = self._task, self._task.cell, credentials
        _allow_connections(task)
        self._anchor_ns = time.time_ns() - time.perf_counter_ns()
        self._region = shared_region(task.url, task.region, credentials) if task.region else None
        self._clients = [
            connect(
                cell.server,
                url=task.url,
                model=model,
                signature=cell.signature,
                batch_size=cell.load.batch_size,
                models=task.models,
                region=self._region,
                credentials=credentials,
            )
            for model in cell.models
        ]
        descriptions = [client.describe() for client in self._clients]
        return descriptions[0]

    def encode(self, blocks: list[np.ndarray]) -> Payloads:
        """Turn this worker's shard, blocks of uint8 [n, h, w, 3], into requests, round robin over the models."""
        cell, held = self._task.cell, sum(map(len, blocks))
        if held < cell.load.batch_size * len(cell.models):
            raise ClientError(
                f"worker {self._task.worker} got {held} images, fewer than a batch of {cell.load.batch_size} "
                f"for each model"
            )
        before_bytes = psutil.Process().memory_info().rss
        cut = batches(blocks, batch_size=cell.load.batch_size, models=len(cell.models), jpeg_quality=cell.jpeg_quality)
        self._feed = Preloaded([self._encoded(batch) for batch in cut])
        if self._region:
            self._region.register()
        self._held_mib = (psutil.Process().memory_info().rss - before_bytes) / 2**20
        return self.payloads()

    def stream(self, read: Iterable[Batch]) -> Payloads:
        """Encode batches ahead of the lanes from now on; returns when each lane has one."""
        self._feed = Stream(map(self._encoded, read), self._task.stream_bytes)
        self._feed.wait_for(self._lanes(WARMUP))
        return self.payloads()

    def payloads(self) -> Payloads:
        """What was encoded until now."""
        return Payloads(
            requests=len(self._hashes) // self._task.cell.load.batch_size,
            image_hashes=tuple(self._hashes),
            request_bytes=self._request_bytes,
            held_mib=self._held_mib,
        )

    def warm_up(self) -> pa.Table:
        """Send the warm-up requests on every lane at once; they are kept apart from the measured ones.

        As many as were asked for, or until three windows of them are alike or the time is over.
        """
        for client in self._clients:
            client.prepare(min(self._lanes(MEASURED), _PREPARED))
        if self._task.warmup_request_count is not None:
            self._send_on_lanes(WARMUP, self._task.warmup_request_count)
            return self._drain()
        load, windows, paces = self._task.cell.load, list[pa.Table](), list[Pace]()
        until_s, requests = time.monotonic() + load.warmup_timeout_s, 2 * self._lanes(WARMUP)
        while time.monotonic() < until_s and not is_steady(paces, load.stability_percentage / 100):
            began_s = time.monotonic()
            self._send_on_lanes(WARMUP, requests)
            windows.append(self._drain())
            elapsed_s = time.monotonic() - began_s
            paces.append(Pace(requests / elapsed_s, float(service_ns(windows[-1]).mean()) / 1e6))
            requests = max(requests, int(_WARMUP_WINDOW_S * requests / elapsed_s))
        return merge(windows)

    def run(self, start_at_s: float) -> Iterator[pa.Table]:
        """Wait for the common start (epoch seconds), send, and yield the samples in chunks, about twice a second."""
        load = self._task.cell.load
        self._kept.clear()
        gc.collect()
        gc.freeze()
        gc.disable()
        start_ns = int(start_at_s * 1e9) - self._anchor_ns
        deadline = None if load.duration_s is None else start_ns + int(load.duration_s * 1e9)
        due = self._due_ns(start_ns)
        total = self._task.request_count if due is None else len(due)
        if due is None:
            self._wait_until(start_ns)
        with ThreadPoolExecutor(1) as pool:
            sender = pool.submit(self._send_on_lanes, MEASURED, total, deadline_ns=deadline, due_ns=due)
            try:
                while not sender.done():
                    wait([sender], timeout=chunk_s(load.workers))
                    yield from self._chunks()
            finally:
                self.halt()
                gc.enable()
        sender.result()
        yield from self._chunks()

    def calibrate(self) -> pa.Table:
        """Send the same requests on the same lanes to Triton's model that does nothing, in closed loop for a moment."""
        feed, lanes = self._feed, self._lanes(CEILING)
        self._stop.clear()
        with closing(connect_echo(self._task.url, self._credentials)) as echo:
            echo.prepare(lanes)
            few = feed.last(_CEILING_BYTES)
            self._feed = Preloaded([each._replace(send=echo.send, body=echo.readdressed(each.body)) for each in few])
            try:
                self._send_on_lanes(WARMUP, 2 * lanes)
                self._drain()
                self._send_on_lanes(CEILING, None, deadline_ns=time.perf_counter_ns() + int(_CEILING_S * 1e9))
            finally:
                self._feed = feed
        return self._drain()

    def replies(self) -> list[tuple[int, dict[str, np.ndarray]]]:
        """Some answers to the measured requests, the first and the last ones kept: payload number, outputs by name."""
        chosen = dict([*list(self._kept.items())[:1], *list(self._kept.items())[-1:]])
        models = len(self._clients)
        return [(payload, self._clients[payload % models].decode(reply)) for payload, reply in chosen.items()]

    def halt(self) -> None:
        """Send nothing more; requests in flight are still answered or run into their deadline."""
        self._stop.set()

    def clock_ns(self) -> int:
        """What the clock of its samples shows: it goes on evenly where the host's is set anew."""
        return self._anchor_ns + time.perf_counter_ns()

    def facts(self) -> dict[str, Any]:
        """Where and what this worker is, and what it has used so far."""
        process = psutil.Process()
        times = process.cpu_times()
        return {
            "worker": self._task.worker,
            "node": socket.gethostname(),
            "cores": os.cpu_count(),
            "pid": os.getpid(),
            "nice": os.nice(0),
            "cpu_s": times.user + times.system,
            "rss_mib": process.memory_info().rss / 2**20,
            "pss_mib": pss_mib(os.getpid()),
        }

    def close(self) -> None:
        self._feed.close()
        for client in self._clients:
            client.close()
        if self._region:
            self._region.close()

    def _encoded(self, batch: Batch) -> Request:
        """A batch for the model whose turn it is; what it holds is noted when it comes for the first time."""
        client = self._clients[batch.payload % len(self._clients)]
        before = self._region.size if self._region else 0
        body = client.encode(batch.images)
        placed = self._region.size - before if self._region else 0
        request = Request(batch.payload, client.send, body, size(body) + placed)
        if len(self._hashes) == batch.payload * len(batch.hashes):
            self._hashes += batch.hashes
            self._request_bytes = self._request_bytes or request.size
        return request

    def _lanes(self, phase: str) -> int:
        """In an open loop one to warm up, and few to calibrate: all that may be in flight is no load that it brings."""
        load = self._task.cell.load
        most = {WARMUP: 1, CEILING: _CEILING_LANES} if load.offered_rps else {}
        lanes = load.lanes[self._task.worker]
        return min(lanes, most.get(phase, lanes))

    def _due_ns(self, start_ns: int) -> list[int] | None:
        """When this worker's requests are due; None in a closed loop."""
        task, load = self._task, self._task.cell.load
        if load.offered_rps is None:
            return None
        whole = schedule.due_times_ns(
            load.arrivals, load.offered_rps, count=load.request_count, duration_s=load.duration_s, seed=task.seed
        )
        mine = schedule.share_ns(whole, worker=task.worker, workers=load.workers)
        return [int(due) for due in start_ns + mine]

    def _send_on_lanes(
        self, phase: str, total: int | None, *, deadline_ns: int | None = None, due_ns: list[int] | None = None
    ) -> None:
        lanes = self._lanes(phase) if total is None else min(self._lanes(phase), total)
        numbers = count(lanes)  # after its first request a lane takes what is next: a slow one holds nothing back
        with ThreadPoolExecutor(max(lanes, 1)) as pool:
            sending = [
                pool.submit(self._lane, lane, phase, numbers, total, deadline_ns, due_ns) for lane in range(lanes)
            ]
        for each in sending:
            each.result()

    def _lane(
        self,
        lane: int,
        phase: str,
        numbers: Iterator[int],
        total: int | None,
        deadline_ns: int | None,
        due_ns: list[int] | None,
    ) -> None:
        """A request leaves when this lane's last reply is in; in an open loop, when it is due, if that is later."""
        task, feed, anchor = self._task, self._feed, self._anchor_ns
        timeout_s, now = task.cell.load.timeout_s, time.perf_counter_ns

        def is_over() -> bool:
            return self._stop.is_set() or (deadline_ns is not None and now() >= deadline_ns)

        seq = lane
        while total is None or seq < total:
            if due_ns is not None:
                self._wait_until(due_ns[seq])
            woke = now()
            if is_over() or (request := feed.take(seq, is_over)) is None:  # of a stream it may have to be waited for
                return
            sent = now()
            reply = request.send(request.body, timeout_s)
            done = now()
            self._samples.append(
                Sample(
                    worker=task.worker,
                    lane=lane,
                    seq=seq,
                    phase=phase,
                    payload=request.payload,
                    due_ns=None if due_ns is None else anchor + due_ns[seq],
                    woke_ns=anchor + woke,
                    sent_ns=anchor + sent,
                    done_ns=anchor + done,
                    images=task.cell.load.batch_size,
                    sent_bytes=request.size,
                    received_bytes=reply.received_bytes,
                    status=reply.status,
                    error=reply.error,
                )
            )
            if seq & (seq - 1) == 0 and reply.is_ok:
                self._kept[request.payload] = reply  # of requests 0, 1, 2, 4, 8, ...: early ones and late ones
            feed.give_back(request)
            del request  # whose memory no lane holds that waits for its next
            if due_ns is None and reply.status == UNAVAILABLE:
                time.sleep(_UNAVAILABLE_S)
            seq = next(numbers)

    def _wait_until(self, when_ns: int) -> None:
        """Sleep, then spin, until the clock shows `when_ns` or the worker is halted; other lanes run meanwhile."""
        if (left_s := (when_ns - time.perf_counter_ns()) / 1e9 - _SPIN_S) > 0:
            self._stop.wait(left_s)
        while time.perf_counter_ns() < when_ns and not self._stop.is_set():
            time.sleep(0)

    def _chunks(self) -> Iterator[pa.Table]:
        """The samples that are there now, in tables of some rows; an empty one where there are none."""
        there = len(self._samples)
        for first in range(0, max(there, 1), CHUNK_ROWS):
            yield self._drain(min(CHUNK_ROWS, there - first))

    def _drain(self, most: int | None = None) -> pa.Table:
        count = len(self._samples) if most is None else most
        return table([self._samples.popleft() for _ in range(count)])
