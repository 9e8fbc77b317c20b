"""Due times of an open loop: when each request leaves, fixed before the start; pure."""

import numpy as np


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


def _poisson_within(rate_rps: float, duration_s: float, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.uniform(0.0, duration_s, rng.poisson(rate_rps * duration_s)))
