"""How far a trial and its run are, for those who watch: a few numbers, however many requests there are."""

from collections.abc import Sequence
from math import ceil
from statistics import fmean

import numpy as np
import pyarrow as pa

from raybench.analysis.latency import PERCENTILES, samples_needed
from raybench.config.plan import Load, Trial
from raybench.results import samples

_RATIO = 1.02  # of a bin's edges
_FIRST_NS = 1e3
_BINS = 1200  # up to six hours
_CHUNK_S = 1.0  # replies are told that late


class Histogram:
    """Counts of times in 1200 bins of 2 %: 10 kB however many they are, and percentiles that are right to 1 %.

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


class Tally:
    """The measured requests of one trial so far; times `now_s` are of one monotonic clock of the caller's."""

    def __init__(self, load: Load) -> None:
        self.load, self.histogram = load, Histogram()
        self.done = self.failed = self._images = 0
        self.server_mib: float | None = None
        self._first_ns, self._last_ns, self._heard_s = np.inf, -np.inf, np.inf
        self._is_over = False

    def add(self, chunk: pa.Table, server_mib: float | None, now_s: float) -> None:
        """Count a chunk of samples, and note what the server holds."""
        self.server_mib = server_mib
        if len(chunk) == 0:
            return
        good = samples.succeeded(chunk)
        times_ns = samples.response_ns(good)
        self.histogram.add(samples.service_ns(good) if times_ns is None else times_ns)
        self.done, self.failed = self.done + len(chunk), self.failed + len(chunk) - len(good)
        self._images += int(good["items"].to_numpy().sum())
        self._first_ns = min(self._first_ns, samples.ns(chunk, "sent_ns").min())
        self._last_ns = max(self._last_ns, samples.ns(chunk, "done_ns").max())
        self._heard_s = now_s

    def end(self) -> None:
        """No more replies are waited for: what follows is no silence."""
        self._is_over = True

    def silent_s(self, now_s: float) -> float:
        """For how long no reply came, good or bad, beyond what it takes to be told of one."""
        return 0.0 if self._is_over else max(0.0, now_s - self._heard_s - _CHUNK_S)

    def elapsed_s(self, now_s: float) -> float:
        """From the first send to the last reply, and on where no more come; 0 before the first."""
        return float(self._last_ns - self._first_ns) / 1e9 + self.silent_s(now_s) if self.done else 0.0

    def achieved_rps(self, now_s: float) -> float | None:
        """Replies per second, good or bad."""
        return self.done / elapsed_s if (elapsed_s := self.elapsed_s(now_s)) else None

    def images_per_s(self, now_s: float) -> float | None:
        return self._images / elapsed_s if (elapsed_s := self.elapsed_s(now_s)) else None

    def share(self, now_s: float) -> float:
        """How much of the trial is over, 0..1."""
        if self.load.request_count:
            return min(1.0, self.done / self.load.request_count)
        return min(1.0, self.elapsed_s(now_s) / (self.load.duration_s or np.inf))

    def left_s(self, now_s: float) -> float | None:
        """How long it will take, at the pace so far; None before the first reply."""
        share = self.share(now_s)
        return self.elapsed_s(now_s) * (1 - share) / share if share else None


class Course:
    """The trials of a run, and how long each took from the end of the one before: its server's start is part of it."""

    def __init__(self, trials: Sequence[Trial], now_s: float) -> None:
        self.trials, self.number = len(trials), 0
        self._left = list(trials)
        self._since_s = now_s
        self._took_s: dict[str, list[float]] = {}

    def start(self) -> None:
        self.number, self._left = self.number + 1, self._left[1:]

    def end(self, trial: Trial, *, is_measured: bool, now_s: float) -> None:
        """One that was not measured says nothing of how long others take."""
        if is_measured:
            self._took_s.setdefault(trial.cell.id, []).append(now_s - self._since_s)
        self._since_s = now_s

    def left_s(self, trial_left_s: float | None, now_s: float) -> float | None:
        """Until the last trial ends: each as long as its cell took before, else as what was seen; None is not known.

        `trial_left_s` is of the trial that runs.
        """
        if trial_left_s is None or not self.trials:
            return None
        seen_s = [s for each in self._took_s.values() for s in each] + [now_s - self._since_s + trial_left_s]
        return trial_left_s + sum(fmean(self._took_s.get(trial.cell.id, seen_s)) for trial in self._left)
