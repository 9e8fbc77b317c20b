"""Steady state: whether a load has settled, judged by windows close to each other and by a trend; pure.

The windows are perf_analyzer's rule: max / min of the last three within 1 + its --stability-percentage, in throughput
and in latency.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raybench.analysis.plain_numbers import plain

WINDOWS = 3
WINDOW_S = 5.0  # perf_analyzer's --measurement-interval
LEAST_REQUESTS = 50  # of a window: fewer scatter too much to be judged
_BINS = 15
_FEWEST, _SILENCE_BINS = 6, 1000
_SIGNIFICANT_Z = 2.576  # 1 %, two-sided


@dataclass(frozen=True)
class Pace:
    """What a load did in one window: requests per second, and their mean latency in ms."""

    requests_per_s: float
    mean_ms: float


def is_steady(paces: Sequence[Pace], share: float) -> bool:
    """Whether the last three windows lie within `share` of each other, in throughput and in latency."""
    last = paces[-WINDOWS:]
    rates, means = [pace.requests_per_s for pace in last], [pace.mean_ms for pace in last]
    return len(last) == WINDOWS and _are_close(rates, share) and _are_close(means, share)


def unsteady(
    begun_ns: np.ndarray, latency_ns: np.ndarray, *, seconds: float, share: float, is_open: bool
) -> str | None:
    """Why the requests begun in a window of so many seconds were no steady state; None where they were.

    None too where the window is too short, or has too few requests, to be judged. In an open loop the throughput is the
    schedule's, and queues come and go as chance has it: a trend of the latency alone is judged.
    """
    if seconds < WINDOWS * WINDOW_S or len(begun_ns) < WINDOWS * LEAST_REQUESTS:
        return None
    at, taken_ms = (begun_ns - begun_ns.min()) / 1e9 / seconds, latency_ns / 1e6
    counts = _counts(at, WINDOWS)
    rates, means = counts * WINDOWS / seconds, _means(at, taken_ms, WINDOWS)
    if not is_open and not _are_close(rates, share):
        return f"throughput did not settle: {_shown(rates)} requests/s in its thirds, over {share:.0%} apart"
    if not is_open and not _are_close(means, share):
        return f"latency did not settle: {_shown(means)} ms on average in its thirds, over {share:.0%} apart"
    if _has_trend(_means(at, taken_ms, _BINS)) and not _are_close(means[[0, -1]], share / 2):
        return f"latency had a trend: {_shown(means)} ms on average in its thirds"
    return None


@dataclass(frozen=True, kw_only=True)
class Steadiness:
    """How steady a window was, long or short.

    `thirds_apart` is the most requests of a third over the least, or over 1 where that is 0; None with few of them, and
    in an open loop. `silence_s` is the longest time without any reply, right to a thousandth of the window.
    """

    requests: int
    thirds_apart: float | None
    silence_s: float
    median_ms: float


def steadiness_of(
    begun_ns: np.ndarray, latency_ns: np.ndarray, done_ns: np.ndarray, *, span_ns: tuple[int, int], is_open: bool
) -> Steadiness | None:
    """Of the successes begun in a window, by their begin and latency, and of all replies; None with too few."""
    if len(begun_ns) < _FEWEST:
        return None
    replies = np.histogram(done_ns, bins=_SILENCE_BINS, range=span_ns)[0]
    full = np.flatnonzero(np.concatenate([[1], replies, [1]]))
    silence = int(np.diff(full).max()) - 1
    counts = np.histogram(begun_ns, bins=WINDOWS, range=span_ns)[0]
    is_told = len(begun_ns) >= WINDOWS * LEAST_REQUESTS and not is_open
    return Steadiness(
        requests=len(begun_ns),
        thirds_apart=float(counts.max() / max(1, counts.min())) if is_told else None,
        silence_s=silence / _SILENCE_BINS * (span_ns[1] - span_ns[0]) / 1e9,
        median_ms=float(np.median(latency_ns)) / 1e6,
    )


def _are_close(values: Sequence[float] | np.ndarray, share: float) -> bool:
    return min(values) > 0 and max(values) <= (1 + share) * min(values)


def _counts(at: np.ndarray, parts: int) -> np.ndarray:
    return np.histogram(at, bins=parts, range=(0.0, 1.0))[0]


def _means(at: np.ndarray, values: np.ndarray, parts: int) -> np.ndarray:
    """The mean of each part in which there are values."""
    sums, counts = np.histogram(at, bins=parts, range=(0.0, 1.0), weights=values)[0], _counts(at, parts)
    return np.asarray(sums[counts > 0] / counts[counts > 0])


def _has_trend(values: np.ndarray) -> bool:
    return abs(trend_z(values)) > _SIGNIFICANT_Z


def is_rising(values: np.ndarray) -> bool:
    """Whether means of some seconds each have a significant upward trend."""
    return trend_z(values) > _SIGNIFICANT_Z


def trend_z(values: np.ndarray) -> float:
    """Mann-Kendall's z (Mann 1945; Kendall 1975) of means of some seconds each: raw requests are correlated."""
    n = len(values)
    if n < 3:
        return 0.0
    score = int(np.sign(values[None, :] - values[:, None])[np.triu_indices(n, 1)].sum())
    deviation = np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return float(np.sign(score) * max(0, abs(score) - 1) / deviation)


def _shown(values: np.ndarray) -> str:
    return ", ".join(plain(float(value)) for value in values)
