"""A server that is first come, first served, in virtual time: what a client would have seen, and what was true."""

import heapq

import numpy as np
import pyarrow as pa

from raybench.results import samples


def service_times_s(kind: str, mean_s: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Times of so many requests; one in ten of the bimodal ones takes 5.5 times the mean, the others half of it."""
    if kind == "constant":
        return np.full(count, mean_s)
    if kind == "exponential":
        return rng.exponential(mean_s, count)
    return np.where(rng.random(count) < 0.1, 5.5 * mean_s, 0.5 * mean_s)


def due_times_s(arrivals: str, rate_rps: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """When so many requests are due, ascending from 0."""
    gaps_s = np.full(count, 1 / rate_rps) if arrivals == "constant" else rng.exponential(1 / rate_rps, count)
    return np.cumsum(gaps_s) - gaps_s[0]


def served(
    times_s: np.ndarray, *, at_once: int, lanes: int, due_s: np.ndarray | None = None, until_s: float = np.inf
) -> pa.Table:
    """The samples of a trial against a server that computes `at_once` requests at a time, which take `times_s`.

    A closed loop where nothing is due; a request that could not leave before `until_s` is not sent.
    """
    free, slots, rows = [(0.0, lane) for lane in range(lanes)], [0.0] * at_once, []
    for number, time_s in enumerate(times_s):
        free_s, lane = free[0]
        due = 0.0 if due_s is None else float(due_s[number])
        sent = max(free_s, due)
        if sent >= until_s:
            break
        done = max(sent, slots[0]) + time_s
        heapq.heapreplace(slots, done)
        heapq.heapreplace(free, (done, lane))
        rows.append((lane, due, sent, done))
    lane, due, sent, done = np.array(rows).T
    return _table(lane, None if due_s is None else due, sent, done)


def _table(lane: np.ndarray, due_s: np.ndarray | None, sent_s: np.ndarray, done_s: np.ndarray) -> pa.Table:
    count = len(lane)
    sent_ns = np.round(sent_s * 1e9).astype(np.int64)
    columns = {
        "worker": np.zeros(count, np.int32),
        "lane": lane.astype(np.int32),
        "seq": np.arange(count),
        "phase": [samples.MEASURED] * count,
        "payload": np.zeros(count, np.int32),
        "due_ns": pa.nulls(count) if due_s is None else np.round(due_s * 1e9).astype(np.int64),
        "woke_ns": sent_ns,
        "sent_ns": sent_ns,
        "done_ns": np.round(done_s * 1e9).astype(np.int64),
        "items": np.ones(count, np.int32),
        "sent_bytes": np.zeros(count, np.int64),
        "received_bytes": np.zeros(count, np.int64),
        "status": [samples.OK] * count,
        "error": pa.nulls(count),
    }
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in samples.SCHEMA]
    return pa.table(arrays, schema=samples.SCHEMA)
