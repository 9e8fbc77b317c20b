"""Throughput of simulated servers whose capacity is known: the rate that was served, and never more."""

from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from helpers import OPEN, doubt_codes, sample, trial
from queue_simulation import due_times_s, served, service_times_s
from record_builders import load

from raybench.analysis.throughput import throughput_in
from raybench.analysis.window import window
from raybench.results import samples

AT_ONCE, TIMES, LOADS = (1, 4, 16), ("constant", "exponential", "bimodal"), (0.5, 0.9, 1.5)
GRID = list(product(TIMES, AT_ONCE, LOADS))
LONG = 8_000  # requests after which chance is about a percent


def rate(rows: pa.Table, lanes: int) -> float | None:
    found = throughput_in(rows, window(rows, workers=1, lanes=lanes))
    return found.requests_per_s if found else None


def opened(times_s: np.ndarray, rps: float, *, at_once: int, lanes: int, arrivals: str, seed: int = 0) -> pa.Table:
    due_s = due_times_s(arrivals, rps, len(times_s), np.random.default_rng(seed))
    return served(times_s, at_once=at_once, lanes=lanes, due_s=due_s)


@pytest.mark.parametrize(("mean_ms", "at_once", "share"), list(product((5, 20, 100), AT_ONCE, LOADS)))
@pytest.mark.parametrize("cycles", [20, 33, 200])
def test_an_open_loop_serves_what_is_offered_and_no_more_than_the_server_can(
    mean_ms: float, at_once: int, share: float, cycles: int
) -> None:
    """Of constant times the rate is right within 1 %, however few cycles of the server the trial has and lanes wait."""
    times_s = service_times_s("constant", mean_ms / 1e3, cycles * at_once, np.random.default_rng(0))
    capacity = at_once / mean_ms * 1e3
    for lanes in (16, 17, 64, 1000):
        rows = opened(times_s, share * capacity, at_once=at_once, lanes=lanes, arrivals="constant")
        assert rate(rows, lanes) == pytest.approx(min(share, 1) * capacity, rel=0.01)


@pytest.mark.parametrize(("times", "at_once", "share"), GRID)
def test_an_open_loop_of_chance_has_its_rate_too(times: str, at_once: int, share: float) -> None:
    """Poisson arrivals and random times: what came in or, under overload, what the drawn times allow."""
    times_s = service_times_s(times, 0.02, LONG, np.random.default_rng(at_once))
    rows = opened(times_s, share * at_once / 0.02, at_once=at_once, lanes=64, arrivals="poisson")
    due_s = samples.ns(rows, "due_ns") / 1e9
    expected = min((LONG - 1) / due_s[-1], at_once / times_s.mean())
    assert rate(rows, 64) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("times", "at_once", "share"), GRID)
def test_a_closed_loop_has_the_rate_of_its_lanes_or_of_the_server(times: str, at_once: int, share: float) -> None:
    """With fewer lanes than the server takes at once each computes all the time, with more the server does."""
    lanes = int(np.ceil(share * at_once))
    times_s = service_times_s(times, 0.02, LONG, np.random.default_rng(at_once))
    rows = served(times_s, at_once=at_once, lanes=lanes)
    assert rate(rows, lanes) == pytest.approx(min(lanes, at_once) / times_s.mean(), rel=0.01)


@pytest.mark.parametrize(("lanes", "at_once", "each"), list(product((1, 3, 16, 64), AT_ONCE, (4, 7, 50))))
def test_a_short_closed_loop_has_its_rate(lanes: int, at_once: int, each: int) -> None:
    """Four requests a lane are enough where the server takes the same time for each."""
    rows = served(
        service_times_s("constant", 0.02, lanes * each, np.random.default_rng(0)), at_once=at_once, lanes=lanes
    )
    assert rate(rows, lanes) == pytest.approx(min(lanes, at_once) / 0.02, rel=0.01)


@pytest.mark.parametrize("seconds", [1, 10])
def test_a_duration_that_cuts_off_the_backlog_changes_no_rate(seconds: float) -> None:
    """What was due and could not leave before the end is not sent, and what was sent counts as ever."""
    times_s, due_s = np.full(seconds * 400, 0.005), np.arange(seconds * 400) / 400
    rows = served(times_s, at_once=1, lanes=64, due_s=due_s, until_s=seconds)
    assert len(rows) < len(due_s)
    assert rate(rows, 64) == pytest.approx(200, rel=0.01)


def test_a_server_that_stood_still_served_less() -> None:
    """Seconds without a reply count, at the end of a trial as in its middle: a stall of half of it halves the rate."""
    for stall in (500, 900):
        times_s = np.full(1000, 0.005)
        times_s[stall] = 5.0
        rows = opened(times_s, 100, at_once=1, lanes=1000, arrivals="constant")
        due_end_s = samples.ns(rows, "due_ns").max() / 1e9
        inside = np.count_nonzero(samples.ns(rows, "done_ns") / 1e9 <= due_end_s)
        assert rate(rows, 1000) == pytest.approx(inside / due_end_s, rel=0.03)


def test_replies_for_a_moment_are_no_rate() -> None:
    """Where the last request was due before the server could answer two, there is no throughput, and a doubt."""
    rows = samples.table(
        [sample(due, due + 100 * (n + 1), due_ms=due, seq=n, lane=n) for n, due in enumerate((0, 1, 2))]
    )
    found = trial(rows, load=load(**OPEN))
    assert (found.window_s is not None, found.throughput) == (True, None)
    assert "no_window" in doubt_codes(found)


def test_errors_are_no_throughput() -> None:
    """Of an open loop too, successes alone are counted: half of the replies are half of the rate."""
    rows = opened(np.full(400, 0.005), 100, at_once=1, lanes=64, arrivals="constant")
    is_even = np.arange(400) % 2 == 0
    found = throughput_in(rows, window(rows, workers=1, lanes=64), of=is_even)
    assert found is not None
    assert found.requests_per_s == pytest.approx(50, rel=0.01)
