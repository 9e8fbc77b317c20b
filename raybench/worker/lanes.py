"""The lanes of a worker: each has one request in flight, and writes down a sample for each."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import pyarrow as pa

from raybench.clients.base import UNAVAILABLE
from raybench.results.samples import CEILING, WARMUP, Sample, table
from raybench.worker.feed import Feed
from raybench.worker.reply_sampler import ReplySampler
from raybench.worker.task import Task

CHUNK_ROWS = 1000  # 84 kB: up to 100 kB Ray sends along with the news of it, and nothing stays on a node that may die
_UNAVAILABLE_S = 0.05  # a server that is gone refuses at once: no storm of refusals
_CEILING_LANES = 4  # of a worker in an open loop: more say no more of what it can do
_SPIN_S = 2e-4  # sleep alone wakes 0.1-0.4 ms late; the last stretch is spun


@dataclass(frozen=True)
class Sending:
    """What lanes send: in which phase, how many requests (None: until the deadline), and when they are due.

    Times are ns of time.perf_counter_ns; `due_ns` is None in a closed loop.
    """

    phase: str
    total: int | None
    deadline_ns: int | None = None
    due_ns: list[int] | None = None


class Lanes:
    """Threads that send; samples and some replies wait here until they are taken.

    Stamps are ns of one monotonic clock, anchored to the epoch when this is made.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._anchor_ns = time.time_ns() - time.perf_counter_ns()
        self._stop = threading.Event()
        self._samples: deque[Sample] = deque()  # lanes append while others take from the front
        self.sampler = ReplySampler(task.cell.load.workers)

    def count(self, phase: str) -> int:
        """How many lanes send: in an open loop one to warm up and few to calibrate, for `max_in_flight` is a cap, not a
        load."""
        load = self._task.cell.load
        most = {WARMUP: 1, CEILING: _CEILING_LANES} if load.offered_rps else {}
        lanes = load.lanes[self._task.worker]
        return min(lanes, most.get(phase, lanes))

    def send(self, feed: Feed, sending: Sending) -> None:
        """Send on all lanes at once, and return when the last one has its reply."""
        lanes = self.count(sending.phase)
        lanes = lanes if sending.total is None else min(lanes, sending.total)
        numbers = count(lanes)  # after its first request a lane takes what is next: a slow one holds nothing back
        with ThreadPoolExecutor(max(lanes, 1)) as pool:
            running = [pool.submit(self._lane, lane, feed, sending, numbers) for lane in range(lanes)]
        for each in running:
            each.result()

    def halt(self) -> None:
        """Send nothing more; requests in flight are still answered or run into their deadline."""
        self._stop.set()

    def resume(self) -> None:
        """Send again after a halt."""
        self._stop.clear()

    def clock_ns(self) -> int:
        """What the clock of the samples shows: it runs on steadily where the host's clock is set."""
        return self._anchor_ns + time.perf_counter_ns()

    def instant_ns(self, epoch_s: float) -> int:
        """An instant of the samples' clock, as time.perf_counter_ns shows it."""
        return int(epoch_s * 1e9) - self._anchor_ns

    def wait_until(self, when_ns: int) -> None:
        """Sleep, then spin, until the clock shows `when_ns` or the worker is halted; other lanes run meanwhile."""
        if (left_s := (when_ns - time.perf_counter_ns()) / 1e9 - _SPIN_S) > 0:
            self._stop.wait(left_s)
        while time.perf_counter_ns() < when_ns and not self._stop.is_set():
            time.sleep(0)

    def chunks(self) -> Iterator[pa.Table]:
        """The samples that are there now, in tables of some rows; an empty one where there are none."""
        there = len(self._samples)
        for first in range(0, max(there, 1), CHUNK_ROWS):
            yield self._taken(min(CHUNK_ROWS, there - first))

    def drain(self) -> pa.Table:
        """All samples that are there now."""
        return self._taken(len(self._samples))

    def _taken(self, count: int) -> pa.Table:
        return table([self._samples.popleft() for _ in range(count)])

    def _lane(self, lane: int, feed: Feed, sending: Sending, numbers: Iterator[int]) -> None:
        """A request leaves when this lane's last reply is in; in an open loop, when it is due, if that is later."""
        worker, load, phase, anchor = self._task.worker, self._task.cell.load, sending.phase, self._anchor_ns
        total, deadline_ns, due_ns = sending.total, sending.deadline_ns, sending.due_ns
        timeout_s, items, now = load.timeout_s, load.batch_size, time.perf_counter_ns

        def is_over() -> bool:
            return self._stop.is_set() or (deadline_ns is not None and now() >= deadline_ns)

        seq = lane
        while total is None or seq < total:
            if due_ns is not None:
                self.wait_until(due_ns[seq])
            woke = now()
            if is_over() or (request := feed.take(seq, is_over)) is None:  # of a stream it may have to be waited for
                return
            sent = now()
            reply = request.send(request.body, timeout_s)
            done = now()
            self._samples.append(
                Sample(
                    worker=worker,
                    lane=lane,
                    seq=seq,
                    phase=phase,
                    payload=request.payload,
                    due_ns=None if due_ns is None else anchor + due_ns[seq],
                    woke_ns=anchor + woke,
                    sent_ns=anchor + sent,
                    done_ns=anchor + done,
                    items=items,
                    sent_bytes=request.size,
                    received_bytes=reply.received_bytes,
                    status=reply.status,
                    error=reply.error,
                )
            )
            if reply.is_ok:
                self.sampler.offer(seq, request.payload, reply, request.items)
            feed.give_back(request)
            del request  # whose memory no lane holds that waits for its next
            if due_ns is None and reply.status == UNAVAILABLE:
                time.sleep(_UNAVAILABLE_S)
            seq = next(numbers)
