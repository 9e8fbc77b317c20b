"""What a server counts of itself, over a trial: read before, now and then, and after it, outside the timed path."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace

from raybench.telemetry.periodic import periodic

_INTERVAL_S = 2.0  # a reload between two readings costs what was counted since the first
_SETTLE_S, _LOOK_S = 1.0, 0.05  # a server counts a request some time after it has sent the answer


@dataclass(frozen=True, kw_only=True)
class ServerStatistics:
    """Counters since the server loaded the model; None is not counted there. Times are sums over successes.

    Triton counts a request that was answered with an error as a success, and charges each request of a merged
    execution the whole of it. `request_ns` is from the request's arrival in the server to its reply; `batches` are
    executions by the number of requests that they merged; `step_ns` is the resolution of the times.
    """

    success: int
    fail: int
    executions: int | None = None
    cache_hit: int | None = None
    cache_miss: int | None = None
    request_ns: int | None = None
    queue_ns: int | None = None
    compute_input_ns: int | None = None
    compute_infer_ns: int | None = None
    compute_output_ns: int | None = None
    batches: Mapping[int, int] = field(default_factory=dict)
    step_ns: int = 0

    def __add__(self, other: "ServerStatistics") -> "ServerStatistics":
        return _combined(self, other, 1)

    def __sub__(self, other: "ServerStatistics") -> "ServerStatistics":
        return _combined(self, other, -1)

    @property
    def is_of_one_epoch(self) -> bool:
        """Whether a difference can be: a reload starts the counters again at 0."""
        counts = [getattr(self, each.name) for each in fields(self) if each.name != "batches"]
        return all(count is None or count >= 0 for count in (*counts, *self.batches.values()))


_OPTIONAL = tuple(each.name for each in fields(ServerStatistics) if each.default is None)
Read = Callable[[], ServerStatistics | None]


@dataclass(frozen=True, kw_only=True)
class StatisticsTotal:
    """What a server counted over a span, and how often a reload started its counters again in it."""

    counted: ServerStatistics
    resets: int


class StatisticsCounter:
    """The counts of a server since this was made, across reloads."""

    def __init__(self, read: Read) -> None:
        self._read, self._lock, self._resets = read, threading.Lock(), 0
        self._last = read()
        self._sum = self._last - self._last if self._last else None

    def take(self) -> bool:
        """Add what was counted since the last reading; False where the server gives no statistics."""
        with self._lock:
            now = self._read()
            if now is None or self._last is None or self._sum is None:
                return False
            since = now - self._last
            if not since.is_of_one_epoch:
                since, self._resets = now, self._resets + 1
            self._sum, self._last = self._sum + since, now
            return True

    def settle(self) -> None:
        """Return when the server has counted all that it has answered; it stands still, or has had a second."""
        _settle(self._read)

    def total(self) -> StatisticsTotal | None:
        """The sums until now; None where the server gives no statistics, or gave none at first."""
        if not self.take() or self._sum is None:
            return None
        batches = {size: count for size, count in sorted(self._sum.batches.items()) if count}
        return StatisticsTotal(counted=replace(self._sum, batches=batches), resets=self._resets)


@contextmanager
def counting(read: Read, interval_s: float = _INTERVAL_S) -> Iterator[StatisticsCounter]:
    """A counter that is kept up to date until the block ends."""
    _settle(read)  # the warm-up was answered a moment ago
    counter = StatisticsCounter(read)
    with periodic(interval_s, counter.take):
        yield counter


def _settle(read: Read) -> None:
    """Wait until two readings are the same, or for a second where others keep the server busy."""
    until_s, found = time.monotonic() + _SETTLE_S, read()
    while found is not None and time.monotonic() < until_s:
        time.sleep(_LOOK_S)
        before, found = found, read()
        if found == before:
            return


def _combined(a: ServerStatistics, b: ServerStatistics, sign: int) -> ServerStatistics:
    """a + sign * b; what one of them does not count is not counted."""

    def one(mine: int | None, other: int | None) -> int | None:
        return None if mine is None or other is None else mine + sign * other

    sizes = {*a.batches, *b.batches}
    return ServerStatistics(
        success=a.success + sign * b.success,
        fail=a.fail + sign * b.fail,
        **{name: one(getattr(a, name), getattr(b, name)) for name in _OPTIONAL},
        batches={size: a.batches.get(size, 0) + sign * b.batches.get(size, 0) for size in sizes},
        step_ns=max(a.step_ns, b.step_ns),
    )
