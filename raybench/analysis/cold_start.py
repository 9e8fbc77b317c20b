"""From a server's start to ready, to its first answer, and to steady replies; pure."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raybench.results import samples
from raybench.results.records import TrialRecord

_NEVER_NS = np.iinfo(np.int64).max
_LEAST_EACH = 6  # requests of each lane: three windows of the smallest warm-up
_LEAST_SHARE = 0.1  # of all requests: the last few of many are alike by chance


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """Seconds from just before a server's process was spawned; of `local` and `fake`, before the worker opened them.

    `ready_s` until it was ready and had answered raybench's warm-up calls, of which `warm_up_s` went into these calls;
    `first_answer_s` until the first reply to a request of the trial, `steady_s` until the first reply from which on
    latency is steady. The time in which raybench sent nothing, between ready and its first request, is left out.
    None is not known.
    """

    ready_s: float
    warm_up_s: float | None
    first_answer_s: float | None
    steady_s: float | None


def cold_start(record: TrialRecord, rows: pa.Table) -> ColdStart | None:
    """The cold start of the server of a trial; None unless the trial is the first after a start that raybench saw."""
    start = record.server_start
    if start is None:
        return None
    requests = _first_requests(record, rows)
    begun_ns = samples.ns(requests, "sent_ns").min(initial=_NEVER_NS)
    sent_ns, done_ns = (samples.ns(samples.succeeded(requests), name) for name in ("sent_ns", "done_ns"))
    steady = steady_from(done_ns - sent_ns, lanes=_lanes(record), share=record.load.stability_percentage / 100)

    def after_s(ended_ns: int) -> float:
        return start.ready_s + float(ended_ns - begun_ns) / 1e9

    return ColdStart(
        ready_s=start.ready_s,
        warm_up_s=start.warm_up_s,
        first_answer_s=after_s(done_ns.min()) if len(done_ns) else None,
        steady_s=None if steady is None else after_s(done_ns[steady]),
    )


def steady_from(latency_ns: np.ndarray, *, lanes: int, share: float) -> int | None:
    """The first of some requests, in the order in which they were sent, from which on their latency is steady.

    Steady as in steady_state.py: of it and all that follow, the means of three parts lie within `share` of each other;
    and it took at most 1 + `share` times the mean of them all, for one slow request of many moves no mean. None where
    there is none with at least 6 requests of each lane, and a tenth of all, from it on.
    """
    count = len(latency_ns)
    first = np.arange(1 + count - max(_LEAST_EACH * lanes, int(np.ceil(count * _LEAST_SHARE))))
    if len(first) == 0:
        return None
    sums = np.concatenate([[0.0], np.cumsum(latency_ns, dtype=float)])
    edges = first[:, None] + (count - first)[:, None] * np.arange(4) // 3
    means = np.diff(sums[edges], axis=1) / np.diff(edges, axis=1)
    is_even = means.max(axis=1) <= (1 + share) * means.min(axis=1)
    is_usual = latency_ns[first] <= (1 + share) * (sums[-1] - sums[first]) / (count - first)
    found = np.flatnonzero(is_even & is_usual)
    return int(found[0]) if len(found) else None


def _first_requests(record: TrialRecord, rows: pa.Table) -> pa.Table:
    """The requests of the warm-up, in the order in which they were sent; of a trial without one, its own."""
    warmup = samples.warmup(rows)
    offsets_ns = {worker.worker: worker.clock_offset_ns for worker in record.workers}
    return samples.on_one_clock(warmup if len(warmup) else samples.measured(rows), offsets_ns).sort_by("sent_ns")


def _lanes(record: TrialRecord) -> int:
    """How many lanes warm up: in an open loop one of each worker."""
    return record.load.workers if record.load.offered_rps else record.load.in_flight
