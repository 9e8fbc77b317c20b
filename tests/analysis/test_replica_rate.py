"""What shows the rate that one replica holds, and what does not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import MS, OPEN, trial
from record_builders import load, server_facts

from raybench import config
from raybench.analysis.latency import latency_of
from raybench.analysis.replica_rate import ReplicaRate, rate_of_run, rate_of_search
from raybench.analysis.search import strategy
from raybench.analysis.search.strategy import BROKE, HELD, LATE, UNKNOWN, SearchPoint, SearchResult
from raybench.analysis.throughput import Requests, Throughput
from raybench.analysis.trial_summary import TrialSummary
from raybench.config import Threshold
from raybench.config.search_goal import LATENCY, OOM, Goal

RATES = Goal(kind=LATENCY, variable="request_rate", steps=(10, 20, 40), percentile="p99", limit_ms=100.0)
LANES = replace(RATES, variable="concurrency")
MEMORY = Goal(kind=OOM, variable="batch_size", steps=(1, 2))


def limit(text: str) -> Threshold:
    found = config.threshold(text)
    assert found
    return found


def searched(holds: Callable[[float], bool], goal: Goal = RATES) -> SearchResult:
    """A search to its end of a server that holds what `holds` says."""
    points: list[SearchPoint] = []
    while (value := strategy.next_value(goal, points)) is not None:
        points.append(point(value, HELD if holds(value) else BROKE, len(points)))
    return strategy.search_result(goal, "triton x1", "m", points, unit="images")


def point(value: float, verdict: str, number: int = 1) -> SearchPoint:
    counts = {"requests": 1, "failed": 0, "latency_ms": None, "inferences_per_s": None, "goodput_rps": None}
    reason = None if verdict == HELD else "5 of 100 requests took over 100 ms"
    return SearchPoint(trial=f"{number}-{value}", value=value, round=number, verdict=verdict, reason=reason, **counts)


def cut_off(*points: SearchPoint) -> SearchResult:
    return strategy.search_result(RATES, "triton x1", "m", points, unit="images")


def open_loop(offered_rps: float, p99_ms: float = 50.0, **changes: Any) -> TrialSummary:
    """A trial that sent and answered what was due, with a p99."""
    times_ns = np.r_[np.full(980, 1.0), np.full(20, p99_ms)] * MS
    made = trial(load=load(**{**OPEN, "offered_rps": offered_rps}))
    plain = replace(
        made,
        id=f"r{made.round}-{offered_rps:g}",
        requests=Requests(attempted=1000, succeeded=1000, failed=0, errors={}),
        throughput=Throughput(requests_per_s=offered_rps, inferences_per_s=offered_rps),
        scheduled_rps=offered_rps,
        achieved_rps=offered_rps,
        cap_hits=0,
        service_ms=latency_of(times_ns),
        response_ms=latency_of(times_ns),
        pacing_error_ms=None,
    )
    return replace(plain, **changes)


def of_search(found: SearchResult, text: str | None = None) -> ReplicaRate:
    return rate_of_search(found, (), limit(text) if text else None)


def test_a_search_gives_its_bounds() -> None:
    """A replica holds the highest rate that was shown to hold; the other end is the first that did not."""
    found = of_search(searched(lambda value: value <= 25))
    assert found.low_rps is not None
    assert found.high_rps is not None
    assert found.low_rps <= 25 < found.high_rps <= found.low_rps * 1.05
    assert found.source == "search for p99<100ms"
    assert found.trials
    assert all(name.endswith(f"-{found.low_rps}") for name in found.trials)


def test_a_search_that_held_everything_has_no_upper_end() -> None:
    """Where the highest value that was tried held, the other end is not known."""
    found = of_search(searched(lambda _: True))
    assert (found.low_rps, found.high_rps) == (40, None)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (searched(lambda _: False), "not even 10 requests/s held: 5 of 100"),
        (cut_off(point(10, HELD), point(20, UNKNOWN)), "the search ended before its answer"),
        (cut_off(point(10, HELD), point(20, LATE)), "the search ended before its answer"),
        (searched(lambda value: value <= 3, replace(LANES, steps=(1, 2, 4))), "a search over lanes"),
        (searched(lambda value: value < 2, MEMORY), "a search for memory says nothing about a rate"),
    ],
)
def test_a_search_without_an_answer_gives_none(found: SearchResult, why: str) -> None:
    """A search that found no rate gives null, and says why."""
    rate = of_search(found)
    assert (rate.low_rps, rate.high_rps) == (None, None)
    assert str(rate.reason).startswith(why)


def test_a_search_that_was_cut_off_counts_what_held_twice() -> None:
    """A rate that was confirmed holds, though the search did not come to its end; the source says that."""
    rate = of_search(cut_off(point(10, HELD, 1), point(10, HELD, 2), point(20, BROKE, 3), point(15, UNKNOWN, 4)))
    assert (rate.low_rps, rate.high_rps) == (10, 20)
    assert rate.source == "search for p99<100ms, which ended before its answer"


@pytest.mark.parametrize(
    ("text", "has_low", "has_high"),
    [("p99<100ms", True, True), ("p99<0.2s", True, False), ("p99<99ms", False, False), ("p90<100ms", False, False)],
)
def test_a_search_says_what_it_searched_for(text: str, has_low: bool, has_high: bool) -> None:
    """What held a limit holds a looser one, whose first breach it did not look for; for others it shows nothing."""
    rate = of_search(searched(lambda value: value <= 25), text)
    assert (rate.low_rps is not None, rate.high_rps is not None) == (has_low, has_high)
    assert has_low or "search again" in str(rate.reason)


def test_several_servers_of_a_search_are_not_one() -> None:
    """A search of two servers behind a url does not say what one holds."""
    pair = trial(server=server_facts("triton", url="a:1,b:2"))
    rate = rate_of_search(searched(lambda _: True), (pair,), None)
    assert rate.reason == "its url names 2 servers: size from results of one of them"


def test_a_rate_that_held_is_a_lower_bound() -> None:
    """Of an open loop the highest rate below the first that did not hold counts, also where a higher one held again."""
    trials = [open_loop(10), open_loop(20), open_loop(30, p99_ms=300), open_loop(40)]
    rate = rate_of_run(trials, limit("p99<100ms"))
    assert (rate.low_rps, rate.high_rps) == (20, 30)
    assert rate.trials == ("r1-20",)
    assert rate.source == "open loop with p99<100ms"


def test_a_rate_holds_in_all_rounds_or_not() -> None:
    """One round that misses the limit is enough for a rate not to hold."""
    trials = [open_loop(10), open_loop(20), open_loop(20, p99_ms=300, round=2)]
    rate = rate_of_run(trials, limit("p99<100ms"))
    assert (rate.low_rps, rate.high_rps) == (10, 20)


def test_what_was_sent_bounds_what_held() -> None:
    """A random schedule that had less than the offered rate shows no more than it had."""
    rate = rate_of_run([open_loop(20, scheduled_rps=18.0, achieved_rps=18.0)], None)
    assert rate.low_rps == 18
    assert rate_of_run([open_loop(20, scheduled_rps=22.0, achieved_rps=22.0)], None).low_rps == 20


@pytest.mark.parametrize(
    ("changes", "is_breach", "why"),
    [
        ({"status": "degraded", "reason": "worker 1 was lost"}, False, "the trial is degraded: worker 1 was lost"),
        ({"status": "unstable", "reason": "response rose"}, True, "the trial is unstable: response rose"),
        ({"requests": Requests(attempted=10, succeeded=9, failed=1, errors={})}, True, "1 of 10 requests failed"),
        ({"cap_hits": 3}, True, "the server did not keep up"),
        ({"achieved_rps": 19.7}, False, "the client did not send in time"),
        ({"achieved_rps": None}, False, "the trial is too short for a rate"),
        ({"response_ms": latency_of(np.ones(99) * MS)}, False, "p99 is not known: it needs 368 requests"),
        ({"response_ms": latency_of(np.full(999, 100.0) * MS)}, True, "p99 was 100 ms"),
        ({"pacing_error_ms": latency_of(np.full(999, 90.0) * MS), "response_ms": latency_of(np.full(999, 200.0) * MS)},
         False, "the client did not send in time"),
    ],
)  # fmt: skip
def test_what_does_not_hold_says_why(changes: dict[str, Any], is_breach: bool, why: str) -> None:
    """A trial that failed, fell behind or missed the limit is a breach; one that shows nothing is not even that."""
    rate = rate_of_run([open_loop(10), open_loop(20, **changes)], limit("p99<100ms"))
    assert (rate.low_rps, rate.high_rps) == (10, 20 if is_breach else None)
    alone = rate_of_run([open_loop(20, **changes)], limit("p99<100ms"))
    assert alone.low_rps is None
    assert str(alone.reason).startswith(f"at 20 requests/s {why}")


def test_within_1_percent_of_what_was_due_is_held() -> None:
    """A client that sent 99 % of what was due held the rate, as far as it was sent."""
    assert rate_of_run([open_loop(20, achieved_rps=19.9)], None).low_rps == 19.9
