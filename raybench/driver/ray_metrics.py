"""What a worker publishes through Ray while its trial runs; Prometheus reads it from the agent of each Ray node.

Ray's names get the prefix ray_, those of counters _total. The latency histogram is written as its buckets: Ray's own
takes a call for each request here and one more in the node's agent, and forgets the sum.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ray.util.metrics import Counter, Gauge

from raybench.config.plan import Load, Trial
from raybench.results import samples

_FLUSH_S = 1.0
_DECADE = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0)  # ISO 3's R10: steps of a quarter
BOUNDS_MS = tuple(float(f"{step * 10**power:.3g}") for power in range(-1, 5) for step in _DECADE)  # 0.1 ms to 80 s
_NS_PER_MS = 1e6


@dataclass(frozen=True, kw_only=True)
class Tags:
    """What tells the metrics of one trial from all others in the same Ray and Prometheus."""

    run: str  # its results folder
    server: str
    model: str
    trial: str

    @classmethod
    def of(cls, trial: Trial, run: str) -> "Tags":
        return cls(run=run, server=trial.cell.label, model=trial.cell.model, trial=trial.id)


class Metrics:
    """Of one worker's measured requests. Counters outlive it, gauges end some seconds after it."""

    def __init__(self, tags: Tags, load: Load) -> None:
        self._tags, self._load = asdict(tags), load
        self._requests = self._counter("requests", "Requests that were answered or failed, by gRPC status", "status")
        self._items = self._counter("items", "Items, such as images, in requests that succeeded")
        timed = "response, since it was due" if load.offered_rps else "service"
        self._buckets = self._gauge("latency_ms_bucket", f"Successes so far within `le` ms ({timed})", "le")
        self._count = self._gauge("latency_ms_count", "Successes so far")
        self._sum = self._gauge("latency_ms_sum", f"Sum of their latencies in ms ({timed})")
        self._in_flight = self._gauge("in_flight", "Requests in flight, mean of the last second")
        self._lag = self._gauge("lag_ms", "Longest lag, sent - due, of the last second's requests")
        self._offered = self._gauge("offered_rps", "This worker's share of the offered rate")
        self._achieved = self._gauge("achieved_rps", "Requests a second that were answered or failed in the last one")
        self._counts, self._total_ms = np.zeros(len(BOUNDS_MS) + 1, np.int64), 0.0
        self._publish_latency()  # from 0 on: a rate needs the value before the first requests

    def publish(self, chunks: Iterable[pa.Table], start_at_s: float) -> Iterator[pa.Table]:
        """The same chunks of samples; Ray learns once a second, and at the end, what they come to."""
        waiting, since_s = list[pa.Table](), start_at_s
        for chunk in chunks:
            waiting.append(chunk)
            if (now_s := time.time()) - since_s >= _FLUSH_S:
                rows = samples.merge(waiting)
                self._publish_rates(rows, now_s - since_s)
                self._publish_counts(rows)
                waiting, since_s = [], now_s
            yield chunk
        self._publish_counts(samples.merge(waiting))

    def _publish_counts(self, rows: pa.Table) -> None:
        for each in rows["status"].value_counts().to_pylist():
            self._requests.inc(each["counts"], {"status": each["values"]})
        good = samples.succeeded(rows)
        if items := pc.sum(good["items"]).as_py():
            self._items.inc(items)
        times_ns = samples.response_ns(good)
        times_ms = (samples.service_ns(good) if times_ns is None else times_ns) / _NS_PER_MS
        self._counts += np.bincount(np.searchsorted(BOUNDS_MS, times_ms), minlength=len(self._counts))
        self._total_ms += float(times_ms.sum())
        self._publish_latency()

    def _publish_latency(self) -> None:
        for bound, count in zip((*map(str, BOUNDS_MS), "+Inf"), self._counts.cumsum().tolist(), strict=True):
            self._buckets.set(count, {"le": bound})
        self._count.set(int(self._counts.sum()))
        self._sum.set(self._total_ms)

    def _publish_rates(self, rows: pa.Table, elapsed_s: float) -> None:
        """In flight by Little's law: time spent in requests per time."""
        self._in_flight.set(float(samples.service_ns(rows).sum()) / 1e9 / elapsed_s)
        self._achieved.set(len(rows) / elapsed_s)
        if self._load.offered_rps:
            lag_ns = samples.lag_ns(rows)
            self._offered.set(self._load.offered_rps / self._load.workers)
            self._lag.set(0.0 if lag_ns is None else float(lag_ns.max()) / _NS_PER_MS)

    def _counter(self, name: str, what: str, *keys: str) -> Counter:
        return Counter(f"raybench_{name}", what, (*self._tags, *keys)).set_default_tags(self._tags)

    def _gauge(self, name: str, what: str, *keys: str) -> Gauge:
        return Gauge(f"raybench_{name}", what, (*self._tags, *keys)).set_default_tags(self._tags)
