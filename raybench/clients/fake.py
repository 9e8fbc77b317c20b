"""A server that is none: scripted times and faults, no model; shown as `fake` wherever it appears."""

import time
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Any

import numpy as np

from raybench.clients.base import ClientError, Description, Reply


@dataclass(frozen=True)
class Script:
    """What the fake does: each reply takes `service_ms`; every `fail_every`-th is UNAVAILABLE, every `hang_every`-th
    takes until the deadline; with number `stall_at` the server stands still for `stall_ms`. 0 is never."""

    service_ms: float = 1.0
    fail_every: int = 0
    hang_every: int = 0
    stall_at: int = 0
    stall_ms: float = 0.0


class FakeClient:
    """Obeys a script such as `service_ms=5,fail_every=10`."""

    def __init__(self, script: str) -> None:
        self._script = read_script(script)
        self._numbers = count(1)
        self._stalled_until_s = 0.0

    def describe(self) -> Description:
        return Description(server="fake", version=None, inputs=("images",), outputs=("count",))

    def encode(self, batch: np.ndarray) -> bytes:
        return batch.tobytes()

    def send(self, request: bytes, timeout_s: float) -> Reply:
        number = next(self._numbers)
        script = self._script
        if number == script.stall_at:
            self._stalled_until_s = time.perf_counter() + script.stall_ms / 1e3
        time.sleep(max(0.0, min(timeout_s, self._stalled_until_s - time.perf_counter())))
        if script.hang_every and number % script.hang_every == 0:
            time.sleep(timeout_s)
            return Reply(status="DEADLINE_EXCEEDED", error="scripted hang")
        if script.service_ms / 1e3 > timeout_s:
            time.sleep(timeout_s)
            return Reply(status="DEADLINE_EXCEEDED", error="scripted service time above the deadline")
        time.sleep(script.service_ms / 1e3)
        if script.fail_every and number % script.fail_every == 0:
            return Reply(status="UNAVAILABLE", error="scripted fault")
        return Reply(status="OK", body=len(request), received_bytes=8)

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        return {"count": np.array([reply.body])}

    def close(self) -> None:
        pass


def read_script(text: str) -> Script:
    """A script from `key=value,...`; raises ClientError for a key or value that it does not know."""
    kinds = {"service_ms": float, "fail_every": int, "hang_every": int, "stall_at": int, "stall_ms": float}
    values: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        try:
            values[key] = kinds[key](value)
            is_usable = 0 <= values[key] < inf
        except (KeyError, ValueError):
            is_usable = False
        if not is_usable:
            raise ClientError(f"url fake={text}: {part!r} is not one of {', '.join(kinds)} with a number of 0 or more")
    return Script(**values)
