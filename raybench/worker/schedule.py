"""Due times of an open loop: when each request leaves, fixed before the start; pure."""

import numpy as np

from raybench.config.plan import Load


def due_times_ns(
    distribution: str, rate_rps: float, *, count: int | None, duration_s: float | None, seed: tuple[int, ...]
) -> np.ndarray:
    """When the requests of a whole trial are due, int64 ns [n] after its start, ascending.

    `count` of them, or as many as come within `duration_s`. Constant: one every 1/rate. Poisson: exponential gaps;
    within a duration a Poisson number of instants drawn evenly, which is the same process (Ross, Introduction to
    Probability Models, 5.3.5).
    """
    if distribution == "constant":
        times_s = np.arange(count or np.ceil(rate_rps * (duration_s or 0))) / rate_rps
    elif count:
        times_s = np.cumsum(np.random.default_rng(seed).exponential(1 / rate_rps, count))
    else:
        times_s = _poisson_within(rate_rps, duration_s or 0.0, np.random.default_rng(seed))
    return np.round(times_s * 1e9).astype(np.int64)


def share_ns(due_ns: np.ndarray, *, worker: int, workers: int) -> np.ndarray:
    """The due times of one worker of several: they take turns, so that together they keep the one schedule.

    Every worker draws the whole of it from the seed; nobody hands out turns while requests are sent.
    """
    return due_ns[worker::workers]


def worker_due_ns(load: Load, *, worker: int, seed: tuple[int, ...], start_ns: int) -> list[int] | None:
    """When the requests of one worker are due, ns of the clock of `start_ns`; None in a closed loop."""
    if load.offered_rps is None:
        return None
    whole = due_times_ns(
        load.arrivals, load.offered_rps, count=load.request_count, duration_s=load.duration_s, seed=seed
    )
    return [int(due) for due in start_ns + share_ns(whole, worker=worker, workers=load.workers)]


def _poisson_within(rate_rps: float, duration_s: float, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.uniform(0.0, duration_s, rng.poisson(rate_rps * duration_s)))
