"""What a server counts of itself, over a trial: read before, now and then, and after it, outside the timed path."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from raybench.telemetry.periodic import every

_INTERVAL_S = 2.0  # a reload between two readings costs what was counted since the first


@dataclass(frozen=True, kw_only=True)
class ServerStatistics:
    """Counters since the server loaded the model; None is not counted there. Times are sums over successes.

    Triton counts a request that was answered with an error as a success, and charges each request of a merged
    execution the whole of it. `request_ns` is from the request's arrival in the server to its reply; `batches` are
    executions by the number of requests that they merged; `step_ns` is how coarse the times are told.
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


Read = Callable[[], ServerStatistics | None]


class Count:
    """What a server has counted since this was made, through reloads."""

    def __init__(self, read: Read) -> None:
        self._read, self._lock, self._resets = read, threading.Lock(), 0
        self._last = read()
        self._sum = self._last - self._last if self._last else None

    def take(self) -> bool:
        """Add what was counted since the last time; False where the server does not tell."""
        with self._lock:
            now = self._read()
            if now is None or self._last is None or self._sum is None:
                return False
            since = now - self._last
            if not since.is_of_one_epoch:
                since, self._resets = now, self._resets + 1
            self._sum, self._last = self._sum + since, now
            return True

    def total(self) -> dict[str, Any] | None:
        """The sums until now, as JSON has them; None where the server does not tell, or did not at first."""
        if not self.take():
            return None
        sums = asdict(self._sum)  # type: ignore[arg-type]
        batches = {str(size): count for size, count in sorted(sums["batches"].items()) if count}
        return {**sums, "batches": batches, "resets": self._resets}


@contextmanager
def counting(read: Read, interval_s: float = _INTERVAL_S) -> Iterator[Count]:
    """A count that is kept up to date until the block ends."""
    count = Count(read)
    with every(interval_s, count.take):
        yield count


def _combined(a: ServerStatistics, b: ServerStatistics, sign: int) -> ServerStatistics:
    def one(name: str) -> Any:
        mine, theirs = getattr(a, name), getattr(b, name)
        return None if mine is None or theirs is None else mine + sign * theirs

    batches = {size: a.batches.get(size, 0) + sign * b.batches.get(size, 0) for size in {*a.batches, *b.batches}}
    counts = {each.name: one(each.name) for each in fields(a) if each.name not in ("batches", "step_ns")}
    return ServerStatistics(**counts, batches=batches, step_ns=max(a.step_ns, b.step_ns))
