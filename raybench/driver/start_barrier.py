"""A common start for workers whose clocks differ, and what is known of those clocks."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ray

_PINGS = 10
_LEAD_S = 0.3  # how far ahead the start is, so that every worker knows it in time,
_LEAD_EACH_S = 0.002  # and how much further for each worker (docs/scale.md)
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class ClockOffset:
    """A worker's clock against the driver's: offset (worker − driver), right to half a round trip; ns."""

    offset_ns: int
    round_trip_ns: int


def measure_clock(actor: Any) -> ClockOffset:
    """The offset seen by the quickest of some round trips, taking the answer for its middle."""
    best = ClockOffset(0, 2**62)
    for _ in range(_PINGS):
        before = time.time_ns()
        there = ray.get(actor.clock_ns.remote(), timeout=_TIMEOUT_S)
        after = time.time_ns()
        if after - before < best.round_trip_ns:
            best = ClockOffset(offset_ns=there - (before + after) // 2, round_trip_ns=after - before)
    return best


def start_times(clocks: Iterable[ClockOffset]) -> list[float]:
    """One instant a little ahead, as each worker's own clock will show it; epoch seconds."""
    offsets_s = [clock.offset_ns / 1e9 for clock in clocks]
    instant_s = time.time() + _LEAD_S + _LEAD_EACH_S * len(offsets_s)
    return [instant_s + offset_s for offset_s in offsets_s]


@dataclass(frozen=True, kw_only=True)
class ClockFacts:
    """A worker's clock over a trial; ns. The drift is None where it was measured once."""

    clock_offset_ns: int
    clock_round_trip_ns: int
    clock_drift_ns: int | None
    clock_uncertainty_ns: int


def clock_facts(start: ClockOffset, end: ClockOffset | None) -> ClockFacts:
    """A worker's clock over a trial, measured before and after it; `end` is None where the worker was lost.

    The offset is the mean of both, so that it is off by half the drift at most, and by half the longer round trip.
    """
    drift_ns = end.offset_ns - start.offset_ns if end else None
    round_trip_ns = max(start.round_trip_ns, end.round_trip_ns if end else 0)
    return ClockFacts(
        clock_offset_ns=start.offset_ns + (drift_ns or 0) // 2,
        clock_round_trip_ns=round_trip_ns,
        clock_drift_ns=drift_ns,
        clock_uncertainty_ns=(round_trip_ns + abs(drift_ns or 0) + 1) // 2,
    )
