"""Times of requests -> exact percentiles with the bounds that the sample supports; pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.special import bdtr

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds; a percentile is None where the sample is too small for it, `bounds` are its 95 % bounds."""

    n: int
    mean: float
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p99_9: float | None
    max: float
    bounds: Mapping[str, tuple[float, float]]


def latency_of(values_ns: np.ndarray | None) -> Latency | None:
    """Mean, exact nearest-rank percentiles and maximum of times in ns, as ms; None without values."""
    if values_ns is None or len(values_ns) == 0:
        return None
    n = len(values_ns)
    ranks = {name: found for name, p in PERCENTILES.items() if (found := _ranks(p, n))}
    wanted = sorted({n - 1}.union(*ranks.values()))
    at_ms = dict(zip(wanted, (np.partition(values_ns, wanted)[wanted] / 1e6).tolist(), strict=True))
    return Latency(
        n=n,
        mean=float(values_ns.mean()) / 1e6,
        max=at_ms[n - 1],
        bounds={name: (at_ms[low], at_ms[high]) for name, (low, _, high) in ranks.items()},
        **{name: at_ms[ranks[name][1]] if name in ranks else None for name in PERCENTILES},
    )


def samples_needed(p: float) -> int:
    """The smallest sample whose p-quantile has an upper bound: p**n must fall under half the allowed doubt."""
    return int(np.ceil(np.log((1 - CONFIDENCE) / 2) / np.log(p)))


def seconds_needed(count: int, rate_rps: float) -> int:
    """For how long a rate must be sent until so many have arrived, but for one Poisson process in a thousand."""
    return ceil((count + 3 * count**0.5) / rate_rps)


def _ranks(p: float, n: int) -> tuple[int, int, int] | None:
    """0-based order statistics: the p-quantile between two that enclose it with 95 % confidence, if n allows both.

    Nearest rank: the smallest observed value that at least the share p does not exceed. The bounds are of
    Binomial(n, p): see Hahn & Meeker, Statistical Intervals, 5.2. Assumes independent requests.
    """

    def below(k: int) -> float:
        """P[at most k of n lie below the quantile], which grows with k."""
        return float(bdtr(float(k), n, p))

    tail = (1 - CONFIDENCE) / 2
    low, high = bisect_right(range(n), tail, key=below) - 1, bisect_left(range(n), 1 - tail, key=below)
    return (low, ceil(p * n) - 1, high) if low >= 0 and high < n else None
