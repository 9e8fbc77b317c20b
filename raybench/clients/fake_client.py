"""A scripted server without a model: times and faults as its script says; shown as `fake` wherever it appears."""

import time
from dataclasses import asdict, dataclass
from heapq import heapreplace
from itertools import count
from math import inf
from threading import BoundedSemaphore, Lock
from typing import Any

import numpy as np

from raybench.clients.base import OK, UNAVAILABLE, ClientError, Description, Reply
from raybench.inputs.photo_source import demo_signature
from raybench.inputs.tensors import Batch, bytes_of
from raybench.models.saved_models import Signature, TensorSpec

_NO_LIMIT = 10**9
_COUNT = {"count": TensorSpec("INT64", (-1,))}
TIMES = ("constant", "exponential", "bimodal")
_SLOW_SHARE, _SLOW, _FAST = 0.1, 5.5, 0.5  # of bimodal times: one in ten takes 5.5 times the mean, the others half


@dataclass(frozen=True)
class Script:
    """What the fake does: each reply takes `service_ms`; with `times` exponential or bimodal it does on average, and
    they are drawn from `seed`. Every `fail_every`-th is UNAVAILABLE, every `hang_every`-th takes until the deadline;
    with number `stall_at` the server stands still for `stall_ms`. It starts in `start_ms`, and its first reply takes
    `first_ms` longer than the others. It serves `at_once` requests at a time, the others wait, and refuses with
    RESOURCE_EXHAUSTED what comes while `oom_above` are in flight already. 0 is never, or without a limit. Each worker
    has a fake of its own, and its limits to itself."""

    service_ms: float = 1.0
    fail_every: int = 0
    hang_every: int = 0
    stall_at: int = 0
    stall_ms: float = 0.0
    at_once: int = 0
    oom_above: int = 0
    times: str = "constant"
    seed: int = 0
    start_ms: float = 0.0
    first_ms: float = 0.0


class FakeClient:
    """Obeys a script such as `service_ms=5,fail_every=10`; it has the signatures of the models that we export."""

    def __init__(self, script: str, *, signature: str = "") -> None:
        self._script = read_script(script)
        self._signature = Signature(demo_signature(signature).inputs, _COUNT)
        self._numbers, self._asked = count(1), count(1)
        self._ready_at_s: float | None = None  # None until it is asked what answers
        self._stalled_until_s = 0.0
        self._random = np.random.default_rng(self._script.seed)
        self._queue, self._free_at_s = Lock(), [0.0] * self._script.at_once
        self._memory = BoundedSemaphore(self._script.oom_above or _NO_LIMIT)

    def describe(self) -> Description:
        """What answers, once the server has started."""
        if self._ready_at_s is None:
            self._ready_at_s = time.perf_counter() + self._script.start_ms / 1e3
        _sleep(self._ready_at_s - time.perf_counter())
        return Description(server="fake", version=None, signature=self._signature)

    def encode(self, batch: Batch) -> bytes:
        return b"".join(a.tobytes() if a.dtype.kind not in "OS" else b"".join(bytes_of(a)) for a in batch.values())

    def prepare(self, calls: int) -> None:
        """Nothing has to be opened."""

    def send(self, request: bytes, timeout_s: float) -> Reply:
        if not self._memory.acquire(blocking=False):
            return Reply(status="RESOURCE_EXHAUSTED", error="scripted: out of memory")
        try:
            return self._wait_and_serve(request, timeout_s)
        finally:
            self._memory.release()

    def _wait_and_serve(self, request: bytes, timeout_s: float) -> Reply:
        service_s, wait_s = self._taken(timeout_s)
        _sleep(min(wait_s, timeout_s))
        if wait_s > timeout_s:
            return Reply(status="DEADLINE_EXCEEDED", error="scripted: the deadline passed while it waited")
        return self._serve(request, service_s, timeout_s - wait_s)

    def _taken(self, timeout_s: float) -> tuple[float, float]:
        """How long a request takes, and how long until a place is free for it: first come, first served.

        The place is taken unless that is after the deadline.
        """
        first_s = self._script.first_ms / 1e3 if next(self._asked) == 1 else 0.0
        if not self._free_at_s and self._script.times == "constant":
            return self._script.service_ms / 1e3 + first_s, 0.0
        with self._queue:
            service_s = self._drawn_s() + first_s
            if not self._free_at_s:
                return service_s, 0.0
            now_s = time.perf_counter()
            begin_s = max(now_s, self._free_at_s[0])
            if begin_s - now_s <= timeout_s:
                heapreplace(self._free_at_s, begin_s + service_s)
            return service_s, begin_s - now_s

    def _drawn_s(self) -> float:
        mean_s, times = self._script.service_ms / 1e3, self._script.times
        if times == "exponential":
            return float(self._random.exponential(mean_s))
        if times == "bimodal":
            return mean_s * (_SLOW if self._random.random() < _SLOW_SHARE else _FAST)
        return mean_s

    def _serve(self, request: bytes, service_s: float, timeout_s: float) -> Reply:
        number = next(self._numbers)
        script = self._script
        if number == script.stall_at:
            self._stalled_until_s = time.perf_counter() + script.stall_ms / 1e3
        _sleep(max(0.0, min(timeout_s, self._stalled_until_s - time.perf_counter())))
        if script.hang_every and number % script.hang_every == 0:
            _sleep(timeout_s)
            return Reply(status="DEADLINE_EXCEEDED", error="scripted hang")
        if service_s > timeout_s:
            _sleep(timeout_s)
            return Reply(status="DEADLINE_EXCEEDED", error="scripted service time above the deadline")
        _sleep(service_s)
        if script.fail_every and number % script.fail_every == 0:
            return Reply(status=UNAVAILABLE, error="scripted fault")
        return Reply(status=OK, body=len(request), received_bytes=8)

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        return {"count": np.array([reply.body])}

    def close(self) -> None:
        pass


def _sleep(seconds: float) -> None:
    """Without the call where the time is 0: that alone takes up to 70 us."""
    if seconds > 0:
        time.sleep(seconds)


def read_script(text: str) -> Script:
    """A script from `key=value,...`; raises ClientError for a key or value that it does not know."""
    kinds = {name: type(value) for name, value in asdict(Script()).items()}
    values: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        try:
            values[key] = kinds[key](value)
            is_usable = value in TIMES if kinds[key] is str else 0 <= values[key] < inf
        except (KeyError, ValueError):
            is_usable = False
        if not is_usable:
            known = ", ".join(name for name in kinds if name != "times")
            raise ClientError(
                f"url fake={text}: {part!r} is not valid; use {known} with a number of 0 or more, or times with "
                f"{', '.join(TIMES)}"
            )
    return Script(**values)
