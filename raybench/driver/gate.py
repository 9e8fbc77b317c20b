"""A common start for workers whose clocks differ."""

import time
from dataclasses import dataclass
from typing import Any

import ray

_PINGS = 10
_LEAD_S = 1.0
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Clock:
    """A worker's wall clock against the driver's: offset (worker − driver), right to half a round trip; ns."""

    offset_ns: int
    round_trip_ns: int


def measure_clock(actor: Any) -> Clock:
    """The offset seen by the quickest of some round trips, taking the answer for its middle."""
    best = Clock(0, 2**62)
    for _ in range(_PINGS):
        before = time.time_ns()
        there = ray.get(actor.clock_ns.remote(), timeout=_TIMEOUT_S)
        after = time.time_ns()
        if after - before < best.round_trip_ns:
            best = Clock(offset_ns=there - (before + after) // 2, round_trip_ns=after - before)
    return best


def start_times(clocks: list[Clock]) -> list[float]:
    """One instant a little ahead, as each worker's own clock will show it; epoch seconds."""
    instant_s = time.time() + _LEAD_S
    return [instant_s + clock.offset_ns / 1e9 for clock in clocks]
