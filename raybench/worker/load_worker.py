"""A worker: opens an endpoint, encodes its inputs, warms up, and sends on its lanes; knows no Ray."""

import gc
import os
import socket
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager

import psutil
import pyarrow as pa

from raybench.analysis.steady_state import Pace, is_steady
from raybench.clients import connect_echo
from raybench.clients.base import ClientError, Description, MalformedReplyError, UnsupportedReplyError
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.inputs.tensors import Batch, item_count
from raybench.results.records import ConversionCost, CopyCost
from raybench.results.samples import CEILING, MEASURED, WARMUP, merge, service_ns
from raybench.telemetry.host_cpu import HostCpuMeter, HostLoad
from raybench.telemetry.process_usage import pss_mib
from raybench.worker.encoder import Encoder
from raybench.worker.feed import Feed, PreloadedFeed, RequestItems, StreamedFeed, cut
from raybench.worker.lanes import Lanes, Sending
from raybench.worker.reply_sampler import DecodedReplies, DecodedReply
from raybench.worker.schedule import worker_due_ns
from raybench.worker.task import EchoAddress, PayloadSummary, Task, WorkerUsage

_CHUNK_S = 0.5  # a worker that dies takes its samples since the last chunk along
_CHUNKS_PER_S = 400  # of all workers together: a driver takes in about 1000 on a core of its own (docs/scale.md)
_WARMUP_WINDOW_S = 0.3
_READ_NS = 20_000_000  # before the start, for a reading of the host
_CEILING_S = 1.5
_CEILING_BYTES = 2**25  # of copies of requests
_PREPARED = 64  # connections of a worker to each model before the start; there are more where calls need them


def chunk_s(workers: int) -> float:
    """How long a worker of so many keeps its samples."""
    return max(_CHUNK_S, workers / _CHUNKS_PER_S)


class Worker:
    """Used in the order open, encode or stream, warm_up, watch_host, run, calibrate, close."""

    _encoder: Encoder

    def __init__(self, task: Task) -> None:
        self._task = task
        self._lanes = Lanes(task)
        self._feed: Feed = PreloadedFeed([])
        self._held_mib: float | None = None
        self._meter: HostCpuMeter | None = None
        self._host_load: HostLoad | None = None
        self._copied: CopyCost | None = None
        self._open_s = 0.0
        self._are_decoded = False

    def open(self, credentials: ConnectionCredentials = NO_CREDENTIALS, echo: EchoAddress | None = None) -> Description:
        """Connect, with what opens the server, and ask what answers; raises ClientError.

        `echo` is a Triton that does nothing, to find the ceiling; None: it is found where requests go.
        """
        began_s = time.perf_counter()
        self._credentials, self._echo = credentials, echo
        self._encoder = Encoder(self._task, credentials)
        description = self._encoder.describe()
        self._open_s = time.perf_counter() - began_s
        return description

    def open_s(self) -> float:
        """How long opening took: where the worker is the server, the start of the server."""
        return self._open_s

    def encode(self, blocks: Sequence[Batch]) -> PayloadSummary:
        """Turn this worker's shard into requests, round robin over the models."""
        cell, there = self._task.cell, sum(map(item_count, blocks))
        if there < cell.load.batch_size * len(cell.models):
            raise ClientError(
                f"worker {self._task.worker} got {there} items, fewer than a batch of {cell.load.batch_size} "
                f"for each model"
            )
        return self.encode_requests(cut(blocks, batch_size=cell.load.batch_size, models=len(cell.models)))

    def encode_requests(self, requests: Iterable[RequestItems]) -> PayloadSummary:
        """Encode requests that are all there, as many for each model."""
        before_bytes = psutil.Process().memory_info().rss
        self._feed = PreloadedFeed([self._encoder.encode(items) for items in requests])
        self._encoder.register(self._echo)
        self._held_mib = (psutil.Process().memory_info().rss - before_bytes) / 2**20
        return self.payloads()

    def stream(self, read: Iterable[RequestItems]) -> PayloadSummary:
        """Encode requests ahead of the lanes from now on; returns when each lane has one."""
        feed = StreamedFeed(map(self._encoder.encode, read), self._task.stream_bytes)
        feed.wait_for(self._lanes.count(WARMUP))
        self._feed = feed
        return self.payloads()

    def payloads(self) -> PayloadSummary:
        """What was encoded until now."""
        return self._encoder.summary(self._held_mib)

    def warm_up(self) -> pa.Table:
        """Send the warm-up requests on every lane at once; they are kept apart from the measured ones.

        As many as were asked for, or until three windows of them are alike or the time is over.
        """
        self._encoder.prepare(min(self._lanes.count(MEASURED), _PREPARED))
        if self._task.warmup_request_count is not None:
            self._lanes.send(self._feed, Sending(WARMUP, self._task.warmup_request_count))
            return self._lanes.drain()
        load, windows, paces = self._task.cell.load, list[pa.Table](), list[Pace]()
        until_s, requests = time.monotonic() + load.warmup_timeout_s, 2 * self._lanes.count(WARMUP)
        while time.monotonic() < until_s and not is_steady(paces, load.stability_percentage / 100):
            began_s = time.monotonic()
            self._lanes.send(self._feed, Sending(WARMUP, requests))
            windows.append(self._lanes.drain())
            elapsed_s = time.monotonic() - began_s
            paces.append(Pace(requests / elapsed_s, float(service_ns(windows[-1]).mean()) / 1e6))
            requests = max(requests, int(_WARMUP_WINDOW_S * requests / elapsed_s))
        return merge(windows)

    def watch_host(self, roots: Collection[int]) -> None:
        """Read this host's CPUs until the last reply; `roots` are those of the run's process trees on it."""
        self._meter = HostCpuMeter(roots)

    def run(self, start_at_s: float) -> Iterator[pa.Table]:
        """Wait for the common start (epoch seconds), send, and yield the samples in chunks, about twice a second."""
        load, meter = self._task.cell.load, self._meter
        self._lanes.sampler.clear()
        copied = self._encoder.copied()  # to warm up
        start_ns = self._lanes.instant_ns(start_at_s)
        sending = self._measured(start_ns)
        with _no_garbage_collection(), ThreadPoolExecutor(1) as pool:
            if meter:
                self._lanes.wait_until(start_ns - _READ_NS)
                meter.start()
            if sending.due_ns is None:
                self._lanes.wait_until(start_ns)
            sender = pool.submit(self._lanes.send, self._feed, sending)
            try:
                while not sender.done():
                    wait([sender], timeout=chunk_s(load.workers))
                    yield from self._lanes.chunks()
            finally:
                self.halt()
        sender.result()
        self._host_load = meter.total() if meter else None
        self._copied = self._encoder.copied(copied)
        yield from self._lanes.chunks()

    def calibrate(self) -> pa.Table:
        """Send the same requests on the same lanes to a model that does nothing, in closed loop for a moment."""
        lanes, load = self._lanes.count(CEILING), self._task.cell.load
        self._lanes.resume()
        with closing(
            connect_echo(
                self._echo.url if self._echo else self._task.url,
                self._credentials,
                protocol=load.protocol,
                client=load.client,
            )
        ) as echo:
            echo.prepare(lanes)
            few = self._feed.last(_CEILING_BYTES)
            addressed = [(each, *echo.readdressed(each.body)) for each in few]
            feed = PreloadedFeed([each._replace(send=send, body=body) for each, send, body in addressed])
            self._lanes.send(feed, Sending(WARMUP, 2 * lanes))
            self._lanes.drain()
            deadline_ns = time.perf_counter_ns() + int(_CEILING_S * 1e9)
            self._lanes.send(feed, Sending(CEILING, None, deadline_ns))
        return self._lanes.drain()

    def replies(self) -> DecodedReplies:
        """Some answers to the measured requests, and what was wrong with those that cannot be read."""
        replies, malformed, unsupported = list[DecodedReply](), list[str](), list[str]()
        for seq, payload, reply, items in sorted(self._lanes.sampler.kept, key=lambda kept: kept.seq):
            try:
                replies.append(DecodedReply(seq, payload, self._encoder.decode(payload, reply), items))
            except MalformedReplyError as error:
                malformed.append(str(error))
            except UnsupportedReplyError as error:
                unsupported.append(str(error))
        self._are_decoded = True
        return DecodedReplies(tuple(replies), tuple(malformed), tuple(unsupported))

    def decoded(self) -> ConversionCost | None:
        """What decoding the kept replies cost, whether they are compared or not; None where none could be read."""
        if not self._are_decoded:
            self.replies()
        return self._encoder.decoded

    def halt(self) -> None:
        """Send nothing more; requests in flight are still answered or run into their deadline."""
        self._lanes.halt()

    def clock_ns(self) -> int:
        """What the clock of its samples shows."""
        return self._lanes.clock_ns()

    def usage(self) -> WorkerUsage:
        """Where this worker runs, and what it used so far."""
        process = psutil.Process()
        times = process.cpu_times()
        return WorkerUsage(
            worker=self._task.worker,
            node=socket.gethostname(),
            cores=os.cpu_count() or 1,
            pid=os.getpid(),
            nice=os.nice(0),
            cpu_s=times.user + times.system,
            rss_mib=process.memory_info().rss / 2**20,
            pss_mib=pss_mib(os.getpid()),
            host_load=self._host_load,
            copied=self._copied,
        )

    def close(self) -> None:
        self._feed.close()
        self._encoder.close()

    def _measured(self, start_ns: int) -> Sending:
        """The measured requests: a count or a deadline, and in an open loop when each is due."""
        task, load = self._task, self._task.cell.load
        due_ns = worker_due_ns(load, worker=task.worker, seed=task.seed, start_ns=start_ns)
        deadline_ns = None if load.duration_s is None else start_ns + int(load.duration_s * 1e9)
        return Sending(MEASURED, task.request_count if due_ns is None else len(due_ns), deadline_ns, due_ns)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection would hold up every lane: none within the block."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
