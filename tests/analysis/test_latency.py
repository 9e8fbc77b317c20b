"""Times -> percentiles with the bounds that the sample supports."""

import math
from fractions import Fraction

import numpy as np
import pytest
from helpers import MS

from raybench.analysis.latency import PERCENTILES, latency_of, samples_needed, seconds_needed

RANKS = {"p50": Fraction(1, 2), "p90": Fraction(9, 10), "p95": Fraction(19, 20), "p99": Fraction(99, 100)}


def shuffled_ms(n: int) -> np.ndarray:
    """1..n ms in disorder: the value of rank k is k ms."""
    return np.random.default_rng(0).permutation(np.arange(1, n + 1)) * MS


@pytest.mark.parametrize("n", [368, 400, 999, 1000, 1001, 5000])
def test_percentiles_are_nearest_ranks(n: int) -> None:
    """A percentile is an observed value: the smallest that at least its share of requests does not exceed."""
    found = latency_of(shuffled_ms(n))
    assert [getattr(found, name) for name in RANKS] == [math.ceil(p * n) for p in RANKS.values()]


def test_mean_and_maximum_are_of_all_values() -> None:
    """The mean is the sum over the number, and the maximum is the longest request."""
    found = latency_of(np.array([4, 1, 10]) * MS)
    assert (found.n, found.mean, found.max) == (3, 5.0, 10.0)


@pytest.mark.parametrize(
    ("name", "n", "low", "high"),
    [
        ("p99", 500, 490, 500),
        ("p99", 1000, 983, 997),
        ("p99", 5000, 4936, 4964),
        ("p99", 10000, 9880, 9920),
        ("p50", 6, 1, 6),
        ("p50", 10, 2, 9),
        ("p50", 20, 6, 15),
        ("p50", 100, 40, 61),
    ],
)
def test_bounds_are_the_binomial_ranks(name: str, n: int, low: int, high: int) -> None:
    """A percentile's 95 % bounds are the order statistics that the binomial distribution gives (known tables)."""
    assert latency_of(shuffled_ms(n)).bounds[name] == (low, high)


@pytest.mark.parametrize(("name", "needs"), [("p50", 6), ("p90", 36), ("p95", 72), ("p99", 368), ("p99_9", 3688)])
def test_a_percentile_needs_its_sample(name: str, needs: int) -> None:
    """A percentile that the number of requests cannot support is null, without bounds; from then on it is given."""
    short, enough = latency_of(shuffled_ms(needs - 1)), latency_of(shuffled_ms(needs))
    assert getattr(short, name) is None
    assert name not in short.bounds
    assert getattr(enough, name) is not None
    assert samples_needed(PERCENTILES[name]) == needs


@pytest.mark.parametrize("values", [None, np.array([], np.int64)])
def test_no_values_have_no_latency(values: np.ndarray | None) -> None:
    """Without requests latency is unknown, not zero."""
    assert latency_of(values) is None


def test_so_long_a_rate_brings_enough_requests() -> None:
    """Poisson arrivals of that many seconds are hardly ever too few for a percentile."""
    seconds = seconds_needed(samples_needed(0.99), 20.0)
    counts = np.random.default_rng(0).poisson(20.0 * seconds, 10_000)
    assert np.mean(counts < samples_needed(0.99)) < 0.002
    assert seconds <= 1.25 * samples_needed(0.99) / 20.0
