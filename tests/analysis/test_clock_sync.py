"""Clocks of several hosts: what is known of them, when the start was no common one, and when that is to be doubted."""

from dataclasses import replace
from typing import Any

import pytest
from helpers import MS, OPEN, lanes, sample, trial, trusted
from record_builders import load, worker_facts

from raybench.analysis.doubts import doubts_about
from raybench.analysis.window import gate_skew_ms
from raybench.driver.start_barrier import ClockFacts, ClockOffset, clock_facts, start_times
from raybench.results import samples


def crew(**of_the_last: Any) -> dict[str, Any]:
    """Two workers, of which the last one is different."""
    return {"workers": (worker_facts(0), worker_facts(1, **of_the_last)), "gate_skew_ms": 1.0}


def codes(**changes: Any) -> set[str]:
    """Codes of the doubts about a trial with a window of 10 s."""
    return {doubt.code for doubt in doubts_about(replace(trusted(), **changes), rounds=2)}


def test_an_offset_is_as_sure_as_its_round_trips_and_its_drift() -> None:
    """What lies between the two measurements is off by no more than is said, wherever in their round trips each is."""
    start, end = ClockOffset(250 * MS, 2 * MS), ClockOffset(256 * MS, 4 * MS)
    found = clock_facts(start, end)
    assert found == ClockFacts(
        clock_offset_ns=253 * MS, clock_round_trip_ns=4 * MS, clock_drift_ns=6 * MS, clock_uncertainty_ns=5 * MS
    )
    for clock in (start, end):
        furthest = abs(clock.offset_ns - found.clock_offset_ns) + clock.round_trip_ns / 2
        assert furthest <= found.clock_uncertainty_ns


def test_the_drift_of_a_worker_that_was_lost_is_not_known() -> None:
    """Nobody could ask its clock again: that is null, and no drift of 0."""
    found = clock_facts(ClockOffset(7, 3), None)
    assert found.clock_drift_ns is None
    assert (found.clock_offset_ns, found.clock_uncertainty_ns) == (7, 2)


def test_the_gate_is_one_instant_on_every_clock() -> None:
    """Each worker is told the same instant, as its own clock will show it."""
    ahead, behind = start_times([ClockOffset(250 * MS, 1), ClockOffset(-750 * MS, 1)])
    assert ahead - behind == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("code", "fine", "doubtful"),
    [
        ("uncertain_clocks", crew(clock_uncertainty_ns=100 * MS), crew(clock_uncertainty_ns=101 * MS)),
        ("gate_skew", {**crew(), "gate_skew_ms": 500.0}, {**crew(), "gate_skew_ms": 501.0}),
    ],
)
def test_clocks_are_doubted_against_the_window(code: str, fine: dict[str, Any], doubtful: dict[str, Any]) -> None:
    """The window's edges are as exact as the worst clock and the common start: 1 % and 5 % of it are allowed."""
    assert codes(**fine) == set()
    assert codes(**doubtful) == {code}
    assert codes(**{**doubtful, "window_s": None}) == {"no_window"}


def test_one_clock_is_not_doubted() -> None:
    """A single worker's stamps are compared with no other's."""
    assert codes(workers=(worker_facts(clock_uncertainty_ns=10**10),)) == set()


def test_a_drift_is_reported() -> None:
    """Who reads the doubt sees that the clock moved, and by how much."""
    drifted = crew(clock_uncertainty_ns=150 * MS, clock_drift_ns=-299 * MS)
    (doubt,) = doubts_about(replace(trusted(), **drifted), rounds=2)
    assert "worker 1's by 150 ms, drifted by -299 ms; that is 1.5% of the window (1% allowed)" in doubt.sentence


def test_the_skew_at_the_gate_is_that_of_first_sends_on_one_clock() -> None:
    """Workers that begin together have no skew however far their clocks are apart; late ones have theirs."""
    rows = [sample(0, 10), sample(10, 20, seq=1), sample(5003, 5010, worker=1), sample(5010, 5020, seq=1, worker=1)]
    workers = [worker_facts(0), worker_facts(1, clock_offset_ns=5000 * MS)]
    assert trial(samples.table(rows), workers=workers).gate_skew_ms == pytest.approx(3.0)
    assert trial(lanes([(0, 10)], [(4, 9)])).gate_skew_ms is None
    assert gate_skew_ms(samples.SCHEMA.empty_table()) is None
    due = samples.table([sample(s, s + 1, due_ms=s, worker=w) for w, s in enumerate((3, 9))])
    assert trial(due, workers=workers, load=load(**OPEN)).gate_skew_ms is None
