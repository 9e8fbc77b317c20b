"""How far a trial is: a few numbers, however many requests there are."""

import numpy as np
import pyarrow as pa

from raybench.cli.progress.histogram import Histogram
from raybench.config.plan import Load
from raybench.results import samples

_CHUNK_S = 1.0  # how late a chunk of samples reports a reply


class TrialProgress:
    """The measured requests of one trial so far; times `now_s` are of one monotonic clock of the caller's."""

    def __init__(self, load: Load, unit: str) -> None:
        self.load, self.unit, self.histogram = load, unit, Histogram()
        self.done = self.failed = self._items = 0
        self.server_mib: float | None = None
        self._first_ns, self._last_ns, self._last_reply_s = np.inf, -np.inf, np.inf
        self._is_over = False

    def add(self, chunk: pa.Table, server_mib: float | None, now_s: float) -> None:
        """Count a chunk of samples, and keep the server's memory."""
        self.server_mib = server_mib
        if len(chunk) == 0:
            return
        good = samples.succeeded(chunk)
        times_ns = samples.response_ns(good)
        self.histogram.add(samples.service_ns(good) if times_ns is None else times_ns)
        self.done, self.failed = self.done + len(chunk), self.failed + len(chunk) - len(good)
        self._items += int(good["items"].to_numpy().sum())
        self._first_ns = min(self._first_ns, samples.ns(chunk, "sent_ns").min())
        self._last_ns = max(self._last_ns, samples.ns(chunk, "done_ns").max())
        self._last_reply_s = now_s

    def end(self) -> None:
        """The last reply is in: what follows is no silence."""
        self._is_over = True

    def silent_s(self, now_s: float) -> float:
        """For how long no reply came, good or bad, beyond the delay of a chunk of samples."""
        return 0.0 if self._is_over else max(0.0, now_s - self._last_reply_s - _CHUNK_S)

    def elapsed_s(self, now_s: float) -> float:
        """From the first send to the last reply, and on where no more come; 0 before the first."""
        return float(self._last_ns - self._first_ns) / 1e9 + self.silent_s(now_s) if self.done else 0.0

    def requests_per_s(self, now_s: float) -> float | None:
        """Successes per second, as the items are those of successes."""
        return (self.done - self.failed) / elapsed_s if (elapsed_s := self.elapsed_s(now_s)) else None

    def items_per_s(self, now_s: float) -> float | None:
        return self._items / elapsed_s if (elapsed_s := self.elapsed_s(now_s)) else None

    def share(self, now_s: float) -> float:
        """How much of the trial is over, 0..1."""
        if self.load.request_count:
            return min(1.0, self.done / self.load.request_count)
        return min(1.0, self.elapsed_s(now_s) / (self.load.duration_s or np.inf))

    def left_s(self, now_s: float) -> float | None:
        """How long it will take, at the pace so far; None before the first reply."""
        share = self.share(now_s)
        return self.elapsed_s(now_s) * (1 - share) / share if share else None
