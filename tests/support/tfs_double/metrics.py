"""The double's page of metrics, as tensorflow_serving/util/prometheus_exporter.cc at tag 2.20.0 prints one."""

import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

LIMITS_US = [10 * 1.8**power for power in range(33)]  # of request_latency and runtime_latency, in util.cc
REQUEST, RUNTIME = "request_latency", "runtime_latency"
LABELS = {
    "GRPC": 'model_name="{}",API="Predict",entrypoint="GRPC"',
    "REST": 'model_name="{}",API="predict",entrypoint="REST"',
    "TF1": 'model_name="{}",API="Predict",runtime="TF1"',
}

QUEUE = "batching_session:queuing_latency"


@dataclass
class Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(LIMITS_US) + 1))
    sum_us: float = 0.0

    def add(self, began_s: float) -> None:
        took_us = (time.perf_counter() - began_s) * 1e6
        self.counts[bisect_left(LIMITS_US, took_us)] += 1
        self.sum_us += took_us


class Metrics:
    """`batches` is whether sessions merge; those of the double wait for each other, and merge nothing."""

    def __init__(self, *, batches: bool) -> None:
        self._lock, self._session = threading.Lock(), threading.Lock()
        self._batches, self._runs, self._queue = batches, 0, Histogram()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._histograms: dict[tuple[str, str, str], Histogram] = defaultdict(Histogram)

    def count(self, model: str, status: str) -> None:
        with self._lock:
            self._counts[model, status] += 1

    def observe(self, name: str, kind: str, model: str, began_s: float) -> None:
        """A time of request_latency through one of its doors, or of runtime_latency; `kind` is a key of LABELS."""
        with self._lock:
            self._histograms[name, kind, model].add(began_s)

    @contextmanager
    def merging(self) -> Iterator[None]:
        """A run of a session that merges."""
        began_s = time.perf_counter()
        with self._session:
            with self._lock:
                self._queue.add(began_s)
                self._runs += 1
            yield

    def page(self) -> str:
        with self._lock:
            lines = ["# TYPE :tensorflow:serving:request_count counter"]
            for (model, status), count in self._counts.items():
                lines.append(f':tensorflow:serving:request_count{{model_name="{model}",status="{status}"}} {count}')
            for name in (REQUEST, RUNTIME):
                lines.append(f"# TYPE :tensorflow:serving:{name} histogram")
                for (of, kind, model), histogram in self._histograms.items():
                    if of == name:
                        lines += _lines(f":tensorflow:serving:{name}", LABELS[kind].format(model), histogram)
            if self._batches:
                lines.append(f":tensorflow:serving:batching_session:wrapped_run_count{{}} {self._runs}")
                lines += _lines(f":tensorflow:serving:{QUEUE}", 'thread_pool_name="pool"', self._queue)
        return "\n".join([*lines, ""])


def _lines(name: str, labels: str, histogram: Histogram) -> list[str]:
    lines, so_far = [], 0
    for limit, count in zip([*(f"{us:g}" for us in LIMITS_US), "+Inf"], histogram.counts, strict=True):
        so_far += count
        lines.append(f'{name}_bucket{{{labels},le="{limit}"}} {so_far}')
    return [*lines, f"{name}_sum{{{labels}}} {histogram.sum_us:g}", f"{name}_count{{{labels}}} {so_far}"]
