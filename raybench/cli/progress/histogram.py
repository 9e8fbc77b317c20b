"""Percentiles of a trial that still goes on, in constant memory."""

from math import ceil

import numpy as np

from raybench.analysis.latency import PERCENTILES, samples_needed

_RATIO = 1.02  # of a bin's edges
_FIRST_NS = 1e3
_BINS = 1200  # up to six hours


class Histogram:
    """Counts of times in 1200 bins of 2 %: 10 kB however many there are, and percentiles that are right to 1 %.

    The exact ones are in the report.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)

    def add(self, times_ns: np.ndarray) -> None:
        bins = np.log(np.maximum(times_ns, _FIRST_NS) / _FIRST_NS) / np.log(_RATIO)
        self._counts += np.bincount(bins.astype(int).clip(max=_BINS - 1), minlength=_BINS)

    def percentile_ms(self, name: str) -> float | None:
        """By its name, such as p99; None where the sample is too small for it, as in the report."""
        n, p = int(self._counts.sum()), PERCENTILES[name]
        if n < samples_needed(p):
            return None
        found = int(np.searchsorted(self._counts.cumsum(), ceil(p * n)))
        return float(_FIRST_NS * _RATIO ** (found + 0.5)) / 1e6
